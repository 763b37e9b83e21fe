// Files on demand by Windows' Cloud Files API: the provider's half as a state machine, over a port that is
// the API on Windows (agent/win/cloud_files_win.h) and a simulation in tests.
//
// Subtrees of the profile are sync roots. The loader publishes what the version lists, as everywhere, and has
// it made placeholders before programs see it; what a program then looks into or reads, whatever program it
// is, Windows asks for here. Rules of the API that shape this (Microsoft's documentation of cfapi:
// CfRegisterSyncRoot, CfConvertToPlaceholder, CfExecute, CF_CALLBACK_TYPE):
//  - Roots do not overlap: not ours, nor those of others.
//  - A callback comes on any thread, many at once, and must be answered within 60 s; every valid operation
//  begins that time anew for all that are pending. So a callback only queues, content goes in pieces, and
//  while the coordinator is away progress is reported.
//  - Data is transferred from a multiple of 4 KiB, to a multiple of 4 KiB or the end of the file.
//  - What is cancelled is answered no more.
//  - Placeholders outlive the provider; while there is none, what is not here fails and is asked for again.
// Hives cannot be placeholders: who loads them wants them whole, before anybody logs in. A root that holds
// one is refused.
//
// A file is dehydrated only where Windows says that no program changed it, and all of it is the base's, byte
// for byte (CloudSource::release): what is changed is not dehydrated in its session, saved or not, for the
// session can bring the base's bytes only.
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
#include "agent/core/placeholders.h"
#include "common/base/byte_range.h"
#include "common/base/bytes.h"

namespace roamstead::agent {

using CloudRequestId = std::uint64_t;  // the port's, for one callback; never used again while it is pending

struct CloudItem {
  FileNumber file = 0;
  profile::ProfilePath path;  // where it is now
};

// What Windows asks or tells; in callbacks, which must not be kept.
struct CloudRequest {
  enum class Kind {
    fetch_data,
    fetch_placeholders,
    dehydrate,
    // Not answered:
    dehydrated,  // or not, after a request that was allowed
    closed,      // a program closed the file
    attributes,  // its pin state may be another
  };
  Kind kind = Kind::fetch_data;
  CloudRequestId id = 0;
  CloudItem item;
  std::string identity;          // that the placeholder was made with
  std::uint64_t size_bytes = 0;  // fetch_data: of the file
  ByteRange range;               // fetch_data: required
  bool done = false;             // dehydrated
  std::string process;           // its program file's name; "": not known
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

  // Of a directory with all its children, which Windows does not ask for. Again for one that is registered:
  // its policies are set anew. Fails where another provider's root overlaps.
  virtual Result<void> register_root(const profile::ProfilePath& root) = 0;
  virtual Result<void> unregister_root(const profile::ProfilePath& root) = 0;
  // Callbacks come from now on, until disconnect() has returned.
  virtual Result<void> connect(const profile::ProfilePath& root, CloudCallbacks& callbacks) = 0;
  virtual Result<void> disconnect(const profile::ProfilePath& root) = 0;

  // Answers. ErrorCode::cancelled: nobody waits for it any more.
  virtual Result<void> transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) = 0;
  // Every child of the directory has its name: it is not asked for again.
  virtual Result<void> complete_directory(CloudRequestId id) = 0;
  virtual Result<void> allow_dehydrate(CloudRequestId id, bool allow) = 0;
  virtual Result<void> report_progress(CloudRequestId id, std::uint64_t done, std::uint64_t total) = 0;
  // The program gets an error that says to try again later (`retryable`), or that the file is damaged.
  virtual Result<void> refuse(const CloudRequest& request, ByteRange rest, bool retryable) = 0;

  // As Placeholders has them. A file that is made one is dehydrated with that, and in sync.
  virtual Result<void> convert(FileNumber file, bool directory, const std::string& identity) = 0;
  virtual Result<void> hydrate(FileNumber file) = 0;
  virtual Result<PlaceholderState> state(FileNumber file) = 0;
  // May ask for it by a callback first. Fails where Windows says that the file was changed, or is in use.
  virtual Result<void> dehydrate(FileNumber file) = 0;
};

// Where content comes from, and who records what is where. Thread-safe; every call ends within kMostSilence.
class CloudSource {
 public:
  using Give = std::function<Result<void>(std::uint64_t offset, ByteView data)>;
  virtual ~CloudSource() = default;
  // Every child of the directory has its name, and is a placeholder where it can be one.
  virtual Result<void> populate(const CloudItem& item) = 0;
  // The range in one piece; what `give` took is recorded as loaded, after the next flush.
  virtual Result<void> read(const CloudItem& item, ByteRange range, const Give& give) = 0;
  // Whether the file's bytes may go; if so released() says what came of it.
  virtual Result<bool> release(const CloudItem& item) = 0;
  virtual Result<void> released(const CloudItem& item, bool gone) = 0;
  virtual Result<void> closed(const CloudItem& item) = 0;
  virtual bool excludes(const std::string& process) = 0;  // it never makes anything be loaded
};

struct CloudFilesOptions {
  static constexpr std::chrono::seconds kMostSilence{20};
  std::string identity;  // of this session's placeholders
  std::size_t threads = 4;
  std::size_t most_waiting = 1024;  // requests beyond it are refused, to be tried again
  std::size_t most_notes = 16'384;  // what is only told; beyond it the oldest are forgotten
  std::size_t piece_bytes = 1 << 20;
  std::chrono::milliseconds patience{120'000};  // without any progress of a request
  std::chrono::milliseconds pause{1'000};       // between two attempts while the coordinator is away
};

struct CloudFilesStatus {
  std::size_t roots = 0, waiting = 0, running = 0, notes = 0;
  std::uint64_t answered = 0, refused = 0, cancelled = 0, transferred_bytes = 0, placeholders = 0,
                dehydrated = 0;
};

// Thread-safe.
class CloudFiles final : public CloudCallbacks, public Placeholders {
 public:
  static constexpr std::uint64_t kAlignment = 4096;

  // Port and source must outlive it.
  CloudFiles(CloudFilesPort& port, CloudSource& source, CloudFilesOptions options = {});
  ~CloudFiles() override;  // stops; roots stay registered, for the next provider

  // A directory that is there already, with all its children, and comes from `base` in the version.
  // ErrorCode::conflict: it overlaps with another root; invalid_argument: it holds a hive. After an error
  // nothing is registered that was not before.
  Result<void> add_root(const profile::ProfilePath& root, const profile::ProfilePath& base);
  Result<void> add_root(const profile::ProfilePath& root) { return add_root(root, root); }
  // Windows may take away what is not loaded in it: for the log-off, after everything was saved.
  Result<void> remove_root(const profile::ProfilePath& root);
  // Disconnects, and waits for what is under way, calls of Placeholders too.
  void stop();
  CloudFilesStatus status() const;

  void on_request(const CloudRequest& request) override;
  void on_cancel(CloudRequestId id) override;

  bool covers(const profile::ProfilePath& base_path) const override;
  Result<void> convert(FileNumber file, bool directory) override;
  Result<void> hydrate(FileNumber file) override;
  Result<PlaceholderState> state(FileNumber file) override { return port_.state(file); }

 private:
  using Clock = Activity::Clock;
  void work();
  void take_notes();
  void look_after(const CloudRequest& note);
  Result<void> look_at_pin(const CloudItem& item);
  void answer(const CloudRequest& request);
  Result<void> answer_data(const CloudRequest& request);
  Result<void> answer_placeholders(const CloudRequest& request);
  Result<void> answer_dehydrate(const CloudRequest& request);
  bool is_cancelled(CloudRequestId id) const;
  bool is_ending() const;
  // Calls until it succeeds, fails for good, or is cancelled; tells Windows meanwhile that we are at it.
  Result<void> patiently(const CloudRequest& request, std::uint64_t done,
                         const std::function<Result<void>()>& call);
  bool pause();  // false: stopping
  void refuse(const CloudRequest& request, ByteRange rest, const Error& why);

  CloudFilesPort& port_;
  CloudSource& source_;
  const CloudFilesOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<profile::ProfilePath, profile::ProfilePath> roots_;  // and where in the version each comes from
  std::deque<CloudRequest> waiting_;
  std::map<CloudRequestId, bool> running_;  // whether it was cancelled
  std::deque<CloudRequest> notes_;
  bool noting_ = false;  // one more is looked after
  CloudFilesStatus status_;
  unsigned calls_ = 0;  // of hydrate(), under way
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace roamstead::agent
