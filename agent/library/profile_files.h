// The profile as a program uses it, in process: each call does to the session's volume what agent/fuse does
// for a request from the kernel, by the same calls of the core.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <vector>

#include "agent/core/session.h"
#include "agent/library/library_profile_volume.h"

namespace roamstead::agent {

struct ProfileItem {
  std::string name;
  ntfs3g::ItemInfo info;
  std::vector<ntfs3g::StreamName> streams;
};

// Paths are relative to the profile's root. Thread-safe.
class ProfileFiles {
 public:
  ProfileFiles(Session& session, LibraryProfileVolume& volume) : session_(session), volume_(volume) {}

  // What is looked at is loaded first.
  Result<std::vector<ProfileItem>> list(const std::string& path);
  Result<ProfileItem> stat(const std::string& path);
  Result<Bytes> read(const std::string& path, const std::string& stream, std::uint64_t offset,
                     std::size_t length);
  Result<Bytes> read_all(const std::string& path, const std::string& stream);

  Result<void> make_file(const std::string& path);
  Result<void> make_directory(const std::string& path);
  Result<void> write(const std::string& path, const std::string& stream, std::uint64_t offset, ByteView data);
  Result<void> truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes);
  Result<void> make_stream(const std::string& path, const std::string& stream);
  Result<void> remove_stream(const std::string& path, const std::string& stream);
  Result<void> set_times(const std::string& path, const ItemTimes& times);
  Result<void> set_attributes(const std::string& path, std::uint32_t attributes);
  // Replaces a file that is there.
  Result<void> rename(const std::string& from, const std::string& to);
  Result<void> exchange(const std::string& a, const std::string& b);
  // A file or an empty directory.
  Result<void> remove(const std::string& path);

 private:
  Result<void> populate(const std::string& directory);  // and all above it
  std::string on_volume(const std::string& path) const;
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream);
  Result<ProfileItem> describe(const std::string& name, ntfs3g::FileReference reference);
  // A change of names: everything about `path`'s directory is loaded, then nobody else changes names, no
  // snapshot is taken.
  Result<void> change_names(const std::vector<std::string>& paths,
                            const std::function<Result<void>()>& change);
  Result<void> change_metadata(const std::string& path,
                               const std::function<Result<void>(ntfs3g::FileReference)>& change);
  Result<void> remove_on_volume(const std::string& path);

  Session& session_;
  LibraryProfileVolume& volume_;
  std::shared_mutex names_mutex_;  // before the core's gate
};

}  // namespace roamstead::agent
