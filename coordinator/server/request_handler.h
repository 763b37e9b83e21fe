// Answers the frames of one desktop. Blocks: called on a pool's threads, never on the io thread. Thread-safe.
#pragma once

#include <mutex>
#include <string>

#include "coordinator/server/session_table.h"
#include "coordinator/server/spool.h"

namespace roamstead::server {

class RequestHandler {
 public:
  RequestHandler(SessionTable& sessions, std::string spool_directory, std::uint64_t spool_limit_bytes)
      : sessions_(sessions), spool_directory_(std::move(spool_directory)), budget_(spool_limit_bytes) {}

  // open, list, read, keys, value, renew, close: the reply as a frame, a failure included.
  Bytes answer(const std::string& desktop, wire::Frame request);

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
  // The whole batch is there: commits it; the frame that answers.
  Bytes commit(const std::string& desktop, std::uint64_t request, const wire::BatchBegin& begin,
               const Spool& spool);

 private:
  Result<wire::CommitReply> commit_spooled(const std::string& desktop, const wire::BatchBegin& begin,
                                           const Spool& spool);

  SessionTable& sessions_;
  std::string spool_directory_;
  SpoolBudget budget_;
  std::mutex large_batch_mutex_;  // one batch with very many records is in memory at a time
};

Bytes failure_frame(std::uint64_t request, const Error& error);

}  // namespace roamstead::server
