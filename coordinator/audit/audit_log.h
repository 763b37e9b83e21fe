// The audit log: who did or tried what, one line each, appended and chained by hash, so that a line changed,
// removed or put in afterwards shows (audit_reader.h checks that; docs/format-audit.md has the format).
//
// Files `audit-00000001.log`, ... in one directory; a new one is begun when one is large, at every start
// after which the last one does not end in a whole record, and after a write that failed. What was written is
// never changed or cut.
//
// Durability: what is appended is written and synced in bursts, one sync each, within kLatency of the first
// of them; append_durably returns after that. A crash loses at most what append() was given since the last
// burst. After each burst the head (last record's number and hash) goes to HeadStore, which must lie
// elsewhere: without it, records cut off at the end would not be missed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/sha256.h"
#include "common/os/file.h"

namespace roamstead::audit {

enum class Outcome : std::uint8_t { done, refused, failed };
std::string_view to_string(Outcome outcome);

// Texts may hold anything: they are foreign input mostly, and are written as JSON strings, cut at
// kMaxTextBytes.
struct Record {
  std::string what;   // "desktop.revoke", "session.open"
  std::string who;    // "root", "desktop desk-a", "address 192.0.2.7"
  std::string about;  // "desktop desk-a", "profile alice"
  Outcome outcome = Outcome::done;
  std::string reason;  // when it is not done
  std::vector<std::pair<std::string, std::string>> fields;
};

inline constexpr std::size_t kMaxTextBytes = 1024;
inline constexpr std::size_t kMaxFields = 16;

// The last record known to be durable.
struct Head {
  std::uint64_t sequence = 0;  // 0: none yet
  Sha256Digest hash{};
};

struct Options {
  std::uint64_t rotate_bytes = 16u << 20;
  std::size_t max_queued = 4096;  // events beyond that are counted instead, and the count is recorded
  // Of events that repeat (the same what, who and outcome, whatever they are about) in a window so many are
  // written; the rest is counted, and one record at the window's end tells how many. Of what was refused or
  // failed, max_refusals of a window are written for everybody together, so that many who ask once cannot do
  // what one who asks often cannot.
  std::size_t repeats = 5;
  std::size_t max_refusals = 600;
  std::chrono::seconds window{60};
  std::chrono::milliseconds latency{100};  // how long a burst gathers while nobody waits
  std::function<std::chrono::steady_clock::time_point()> now = [] {
    return std::chrono::steady_clock::now();
  };
};

class HeadStore {
 public:
  virtual ~HeadStore() = default;
  virtual Result<std::optional<Head>> load() = 0;
  virtual Result<void> save(const Head& head) = 0;
};

// Thread-safe. One object for a directory at a time.
class AuditLog {
 public:
  // Reads the last file and goes on where it ends. `files` and `heads` must outlive it.
  static Result<std::unique_ptr<AuditLog>> open(os::FileSystem& files, const std::string& directory,
                                                HeadStore& heads, Options options = {});
  ~AuditLog();  // writes what waits, summaries included

  // An event: never waits and never fails; what repeats too often is summarised.
  void append(Record record);
  // An administrator's act: written in full, durable when it returns.
  Result<void> append_durably(Record record);
  // All appended so far is durable when it returns, summaries of windows still open aside.
  Result<void> flush();
  // After flush: what a reader may expect to find at least.
  Head head() const;
  const std::string& directory() const;

 private:
  class Impl;
  explicit AuditLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::audit
