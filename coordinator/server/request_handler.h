// Answers the frames of one desktop. Blocks: called on a pool's threads, never on the io thread. Thread-safe.
#pragma once

#include <string>

#include "coordinator/server/first_boot_sink.h"
#include "coordinator/server/server_metrics.h"
#include "coordinator/server/session_table.h"
#include "coordinator/server/snapshot_port.h"
#include "coordinator/server/spool.h"

namespace roamstead::server {

class RequestHandler {
 public:
  RequestHandler(SessionTable& sessions, std::string spool_directory, std::uint64_t spool_limit_bytes,
                 std::uint64_t spool_limit_per_desktop_bytes, metrics::Registry& registry,
                 FirstBootSink first_boot, SnapshotPort* snapshots)
      : sessions_(sessions),
        first_boot_(std::move(first_boot)),
        snapshots_(snapshots),
        metrics_(registry),
        spool_directory_(std::move(spool_directory)),
        budget_(spool_limit_bytes, spool_limit_per_desktop_bytes) {}

  // list, read, fetch, keys, value, renew, learned, first_boot, close, hand_over, snapshot_offer, quiet,
  // held: the reply as a frame, a failure included.
  Bytes answer(const std::string& desktop, wire::Frame request);

  // A request to open, asked again and again until there is an answer.
  struct Opening {
    Opening(wire::Frame request, std::function<void()> wake_up)
        : frame(std::move(request)), wake(std::move(wake_up)) {}
    wire::Frame frame;
    std::function<void()> wake;  // called on any thread when asking again is worthwhile
    OpenAttempt attempt;
    const std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
    bool waited = false;
  };
  struct OpeningStep {
    Bytes answer;  // a frame; empty: ask again, at the latest after
    std::chrono::milliseconds ask_again{0};
  };
  OpeningStep open(const std::string& desktop, Opening& opening);
  std::uint64_t spooled_bytes() const { return budget_.used(); }

  // A batch is announced: where its bytes go, or the frame that answers at once (durable already, or
  // refused).
  struct Admission {
    std::unique_ptr<Spool> spool;
    Bytes answer;  // when there is no spool
  };
  Admission admit(const std::string& desktop, std::uint64_t request, const wire::BatchBegin& begin);
  // Appends parts; returns their plain bytes. Keeps the lease alive.
  Result<std::uint64_t> take(const std::string& desktop, const wire::BatchBegin& begin, Spool& spool,
                             std::vector<wire::Frame> parts);
  // Whether so much of it is in memory while it is committed that only one such batch may be.
  static bool is_large(const wire::BatchBegin& begin);
  // The whole batch is there: commits it; the frame that answers. One of a desktop, and one large one, at a
  // time.
  Bytes commit(const std::string& desktop, std::uint64_t request, const wire::BatchBegin& begin,
               const Spool& spool);

 private:
  Result<wire::CommitReply> commit_spooled(const std::string& desktop, const wire::BatchBegin& begin,
                                           const Spool& spool);

  OpeningStep try_open(const std::string& desktop, Opening& opening);
  Result<SnapshotPort*> snapshots() const;

  SessionTable& sessions_;
  const FirstBootSink first_boot_;
  SnapshotPort* const snapshots_;  // may be null
  ServerMetrics metrics_;
  std::string spool_directory_;
  SpoolBudget budget_;
};

// A failure of the coordinator's own storage is `unavailable` for a desktop: asking again may help.
Bytes failure_frame(std::uint64_t request, const Error& error);

}  // namespace roamstead::server
