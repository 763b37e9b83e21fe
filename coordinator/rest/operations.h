// What takes longer than a request should: begun by one, followed by others. What it is and how it ended is
// kept over restarts; what a restart interrupts has failed then.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/admin/commands.h"
#include "coordinator/server/state_store.h"

namespace roamstead::rest {

// Thread-safe.
class Operations {
 public:
  // Nothing: not yet, ask again in a while. On a thread of the pool; may be asked often.
  using Task = std::function<std::optional<Result<nlohmann::json>>(const admin::ProgressSink&)>;
  struct Event {
    std::uint64_t number = 0;  // from 1, within the operation
    std::string name;          // "progress", "done", "failed"
    std::string data;          // the operation, in one line
  };
  struct Events {
    std::vector<Event> events;
    bool ended = false;  // there will be no more
  };

  static constexpr std::size_t kThreads = 2;
  static constexpr std::size_t kMostRunning = 1000;
  static constexpr std::size_t kMostEvents = 64;  // kept of one operation
  static constexpr std::size_t kMostResultBytes = 256u << 10;

  // Reads what is kept.
  static Result<std::unique_ptr<Operations>> open(server::StateStore& store,
                                                  std::size_t most_running = kMostRunning);
  ~Operations();  // waits for what runs
  // Ends waits for events; what waits for its turn is left to the next start.
  void stop();

  // The operation, noted durably. ErrorCode::busy when too many run.
  Result<nlohmann::json> begin(const std::string& kind, const std::string& about, const std::string& who,
                               Task task);
  std::optional<nlohmann::json> find(const std::string& id) const;
  std::vector<nlohmann::json> all() const;
  // Those after event `after`, waited for within `patience`; none when time is over. ErrorCode::not_found.
  Result<Events> events(const std::string& id, std::uint64_t after, std::chrono::milliseconds patience);

 private:
  using Clock = std::chrono::steady_clock;
  struct Operation {
    nlohmann::json state;  // as the schema Operation has it
    std::uint64_t created_100ns = 0;
    std::deque<Event> events;
    std::uint64_t last_event = 0;
    Clock::time_point last_told{};
    Task task;
    bool ended = false;
  };
  using Shared = std::shared_ptr<Operation>;

  Operations(server::StateStore& store, std::size_t most_running)
      : store_(store), most_running_(most_running) {}
  Result<void> load();
  void work();
  void run(const Shared& operation);
  void end(const Shared& operation, const Result<nlohmann::json>& result);
  void tell(Operation& operation, const char* name);  // under the mutex
  void forget_old();                                  // under the mutex

  server::StateStore& store_;
  const std::size_t most_running_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::map<std::string, Shared> operations_;
  std::deque<std::string> order_;  // by age
  std::multimap<Clock::time_point, Shared> due_;
  std::size_t running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace roamstead::rest
