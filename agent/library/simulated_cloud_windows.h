// A simulation of Windows' half of Cloud Files over a real NTFS volume, for tests: what its filter does where
// Microsoft documents it (hydration and population as a whole, questions to the provider and their answers,
// placeholders that outlive it), with the files' bytes, sizes and reparse points on the volume. It is not
// Windows: docs/testing.md says what only that can show.
#pragma once

#include <condition_variable>
#include <map>
#include <random>
#include <set>

#include "agent/core/cloud_files.h"
#include "common/ntfs3g/library_volume.h"

namespace roamstead::agent {

// Thread-safe. Paths are the profile's. It outlives providers, as Windows does.
class SimulatedCloudWindows final : public CloudFilesPort {
 public:
  SimulatedCloudWindows(ntfs3g::LibraryVolume& volume, std::string profile_root)
      : volume_(volume), root_(std::move(profile_root)) {}

  // Programs. ErrorCode::unavailable, timeout: the provider is not there, or brought nothing.
  Result<std::set<std::string>> list(const std::string& path);
  Result<Bytes> read(const std::string& path);
  Result<void> write(const std::string& path, std::uint64_t offset, ByteView data);
  // As CREATE_ALWAYS: nothing of what was there is brought.
  Result<void> overwrite(const std::string& path, ByteView data);
  Result<void> truncate(const std::string& path, std::uint64_t size_bytes);
  Result<void> create(const std::string& path, ByteView data);
  Result<void> remove(const std::string& path);
  Result<void> rename(const std::string& from, const std::string& to);
  // What "always keep on this device" and "free up space" set.
  Result<void> set_pin(const std::string& path, CloudPin pin);
  // As storage sense does: asks the provider, who may say no (ErrorCode::denied).
  Result<void> free_up(const std::string& path);
  Result<FileNumber> find(const std::string& path);
  // Of one that waits: all fetches that are pending.
  void cancel_all();
  std::size_t pending() const;

  Result<void> register_root(const profile::ProfilePath& root) override;
  Result<void> unregister_root(const profile::ProfilePath& root) override;
  Result<void> connect(const profile::ProfilePath& root, CloudCallbacks& callbacks) override;
  Result<void> disconnect(const profile::ProfilePath& root) override;
  Result<void> transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) override;
  Result<void> complete_directory(CloudRequestId id) override;
  Result<void> allow_dehydrate(CloudRequestId id, bool allow) override;
  Result<void> report_progress(CloudRequestId id, std::uint64_t done, std::uint64_t total) override;
  Result<void> refuse(const CloudRequest& request, ByteRange rest, bool retryable) override;
  Result<void> convert(FileNumber file, bool directory, const std::string& identity) override;
  Result<void> hydrate(FileNumber file) override;
  Result<PlaceholderState> state(FileNumber file) override;
  Result<void> dehydrate(FileNumber file) override;

  // Errors of the provider's that Windows would punish with lost content; empty unless there is one.
  std::vector<std::string> violations() const;
  std::size_t registered() const;
  std::uint64_t fetched_bytes() const;
  std::size_t placeholders() const;

  std::chrono::milliseconds limit{60'000};  // for an answer, which every operation begins anew
  std::set<std::string> foreign_roots;      // of another provider

 private:
  struct Placeholder {
    std::string identity;
    bool directory = false;
    bool whole = false;  // of a directory: all children have their names
    bool in_sync = true;
    CloudPin pin = CloudPin::unspecified;
  };
  struct Pending {
    CloudRequest request;
    std::uint64_t come = 0;
    bool done = false, refused = false, retryable = false, cancelled = false, allowed = false;
  };

  Result<void> ask(CloudRequest request, Pending& answer);
  void tell(CloudRequest request);
  CloudCallbacks* provider_of(const profile::ProfilePath& path);  // mutex_ is held
  Pending* alive(CloudRequestId id);
  void touch() { last_ = std::chrono::steady_clock::now(); }
  Result<void> look_into(const std::string& path);
  Result<void> bring(FileNumber file, const std::string& path);
  Result<std::string> path_of(FileNumber file);
  Result<void> change(const std::string& path, bool bring_first,
                      const std::function<Result<void>(ntfs3g::FileReference)>& change);
  std::string on_volume(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }

  ntfs3g::LibraryVolume& volume_;
  const std::string root_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<FileNumber, Placeholder> placeholders_;
  std::set<profile::ProfilePath> registered_;
  std::map<profile::ProfilePath, CloudCallbacks*> connected_;
  CloudRequestId last_id_ = 0;
  std::map<CloudRequestId, Pending*> pending_;
  std::chrono::steady_clock::time_point last_;
  std::vector<std::string> violations_;
  std::uint64_t fetched_bytes_ = 0;
};

}  // namespace roamstead::agent
