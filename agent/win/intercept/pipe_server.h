// The service's end of the hook's pipe: who asks, and for which profile; the answers are Interception's.
//
// A client is the user that it can show by impersonation (identification level) and whose process it is; both
// must be the same, and have a session here. Bounded: connections, questions (one per connection), threads.
// Threads: one for the pipe's events, and workers, more of them as more programs wait. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/core/interception.h"

namespace roamstead::agent {

class PipeServer {
 public:
  struct Config {
    unsigned most_connections = 512;
    unsigned most_workers = 64;
    // Whose profile is served here; null: nobody's. The result is kept as long as the connection.
    std::function<std::shared_ptr<Interception>(const std::string& sid)> find;
    // Whether a user's program, by its full path, gets names but no content; optional. Asked once for each
    // connection whose user `find` knows.
    std::function<bool(const std::string& sid, const std::string& program)> never_loads;
  };
  // ErrorCode::busy or denied when another process serves the pipe.
  static Result<std::unique_ptr<PipeServer>> start(Config config);
  // Ends connections; answers under way are given up, which programs take for a service that is away.
  ~PipeServer();

  std::size_t connections() const;

 private:
  class Impl;
  explicit PipeServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::agent
