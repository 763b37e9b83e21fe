// Files on demand by Windows' Cloud Files API: the provider's half as a state machine, over a port that is
// the API on Windows (agent/win/cloud_files_win.h) and a simulation in tests.
//
// Subtrees of the profile are sync roots, each with placeholders that Windows shows with size and times; what
// a program reads of one, whatever program it is, Windows asks for here. Rules of the API that shape this
// (Microsoft's documentation of cfapi: CfRegisterSyncRoot, CfExecute, CF_CALLBACK_TYPE):
//  - Roots do not overlap: not ours, nor those of others.
//  - A callback comes on any thread, many at once, and must be answered within 60 s; every valid operation
//  begins that
//    time anew for all that are pending. So a callback only queues, content goes in pieces, and while the
//    coordinator is away progress is reported.
//  - Data is transferred from a multiple of 4 KiB, to a multiple of 4 KiB or the end of the file.
//  - What is cancelled is answered no more.
//  - Placeholders outlive the provider; while there is none, what is not here fails and is asked for again.
// Hives cannot be placeholders: who loads them wants them whole, before anybody logs in. A root that holds
// one is refused.
//
// A file is never dehydrated in a session: its blocks' tags would say that they are loaded, and the zeros
// that the volume shows then would pass for a program's (common/extract/provenance.h).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/core/activity.h"
#include "common/base/byte_range.h"
#include "common/profile/entry.h"
#include "common/profile/path.h"

namespace roamstead::agent {

using CloudRequestId = std::uint64_t;  // the port's, for one callback; never used again while it is pending

enum class CloudPin { unspecified, pinned, unpinned, excluded };

// What Windows asks; in callbacks, which must not be kept.
struct CloudRequest {
  enum class Kind { fetch_data, fetch_placeholders, dehydrate };
  Kind kind = Kind::fetch_data;
  CloudRequestId id = 0;
  profile::ProfilePath path;     // in the version: the identity that the placeholder was made with
  std::uint64_t size_bytes = 0;  // fetch_data: of the file
  ByteRange range;               // fetch_data: required
  std::string process;           // its program file's name; "": not known
};

struct CloudPlaceholder {
  std::string name;
  profile::Entry entry;
  profile::ProfilePath identity;  // path in the version; at most 4 KiB, which the API allows
};

class CloudCallbacks {
 public:
  virtual ~CloudCallbacks() = default;
  virtual void on_request(const CloudRequest& request) = 0;
  // Of the range, or of all of it; the request may be over already, or unknown.
  virtual void on_cancel(CloudRequestId id) = 0;
};

// Thread-safe. Paths are the profile's.
class CloudFilesPort {
 public:
  virtual ~CloudFilesPort() = default;

  // Again for one that is registered: its policies are set anew. Fails where another
  // provider's root overlaps.
  virtual Result<void> register_root(const profile::ProfilePath& root) = 0;
  virtual Result<void> unregister_root(const profile::ProfilePath& root) = 0;
  // Callbacks come from now on, until disconnect() has returned.
  virtual Result<void> connect(const profile::ProfilePath& root, CloudCallbacks& callbacks) = 0;
  virtual Result<void> disconnect(const profile::ProfilePath& root) = 0;

  // Answers. ErrorCode::cancelled: nobody waits for it any more.
  virtual Result<void> transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) = 0;
  // `last`: the directory is complete and is not asked for again.
  virtual Result<void> transfer_placeholders(CloudRequestId id, const std::vector<CloudPlaceholder>& items,
                                             bool last) = 0;
  virtual Result<void> allow_dehydrate(CloudRequestId id, bool allow) = 0;
  virtual Result<void> report_progress(CloudRequestId id, std::uint64_t done, std::uint64_t total) = 0;
  // The program gets an error that says to try again later (`retryable`), or that the file is damaged.
  virtual Result<void> refuse(const CloudRequest& request, ByteRange rest, bool retryable) = 0;

  virtual Result<void> set_pin(const profile::ProfilePath& path, CloudPin pin) = 0;
  // Makes Windows ask for what is not here of the file.
  virtual Result<void> hydrate(const profile::ProfilePath& path) = 0;
};

// Where content comes from. Thread-safe; every call ends within kMostSilence.
class CloudSource {
 public:
  virtual ~CloudSource() = default;
  virtual Result<std::vector<profile::NamedEntry>> list(const profile::ProfilePath& path) = 0;
  virtual Result<Bytes> read(const profile::ProfilePath& path, ByteRange range) = 0;
  // Placeholders are about to get their names; the bytes are about to be the file's. Recorded durably on
  // return.
  virtual Result<void> announce(const profile::ProfilePath& directory,
                                const std::vector<profile::NamedEntry>& children) = 0;
  virtual Result<void> announce(const profile::ProfilePath& path, std::uint64_t offset, ByteView data) = 0;
  virtual bool excludes(const std::string& process) = 0;  // it never makes anything be loaded
};

struct CloudFilesOptions {
  static constexpr std::chrono::seconds kMostSilence{20};
  std::size_t threads = 4;
  std::size_t most_waiting = 1024;  // requests beyond it are refused, to be tried again
  std::size_t piece_bytes = 1 << 20;
  std::size_t placeholders_at_once = 256;
  std::chrono::milliseconds patience{120'000};  // without any progress of a request
  std::chrono::milliseconds pause{1'000};       // between two attempts while the coordinator is away
};

struct CloudFilesStatus {
  std::size_t roots = 0, waiting = 0, running = 0;
  std::uint64_t answered = 0, refused = 0, cancelled = 0, transferred_bytes = 0;
};

// Thread-safe.
class CloudFiles final : public CloudCallbacks {
 public:
  static constexpr std::uint64_t kAlignment = 4096;

  // Port and source must outlive it.
  CloudFiles(CloudFilesPort& port, CloudSource& source, CloudFilesOptions options = {});
  ~CloudFiles() override;  // stops; roots stay registered, for the next provider

  // A directory that is there already. ErrorCode::conflict: it overlaps with another root; invalid_argument:
  // it holds a hive. After an error nothing is registered that was not before.
  Result<void> add_root(const profile::ProfilePath& root);
  // No placeholder of it may be left that is not loaded: that is for the caller to see to.
  Result<void> remove_root(const profile::ProfilePath& root);
  // Pinned files are loaded at once.
  Result<void> set_pin(const profile::ProfilePath& path, CloudPin pin);
  // Disconnects, and waits for what is under way.
  void stop();
  CloudFilesStatus status() const;

  void on_request(const CloudRequest& request) override;
  void on_cancel(CloudRequestId id) override;

 private:
  using Clock = Activity::Clock;
  void work();
  void answer(const CloudRequest& request);
  Result<void> answer_data(const CloudRequest& request);
  Result<void> answer_placeholders(const CloudRequest& request);
  bool is_cancelled(CloudRequestId id) const;
  bool is_ending() const;
  // Calls until it succeeds, fails for good, or is cancelled; tells Windows meanwhile that we are at it.
  template <class Call>
  auto patiently(const CloudRequest& request, std::uint64_t done, Call call) -> decltype(call());
  bool pause();  // false: stopping
  void refuse(const CloudRequest& request, ByteRange rest, const Error& why);

  CloudFilesPort& port_;
  CloudSource& source_;
  const CloudFilesOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<profile::ProfilePath> roots_;
  std::deque<CloudRequest> waiting_;
  std::map<CloudRequestId, bool> running_;  // whether it was cancelled
  CloudFilesStatus status_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace roamstead::agent
