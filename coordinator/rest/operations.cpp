#include "coordinator/rest/operations.h"

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/base/random_hex.h"
#include "coordinator/rest/problem.h"
#include "coordinator/rest/schema.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kAskAgain{250};
constexpr std::chrono::milliseconds kBetweenProgress{100};  // what comes faster is told by the next

std::string one_line(const json& state) { return state.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

Result<std::unique_ptr<Operations>> Operations::open(server::StateStore& store, std::size_t most_running) {
  std::unique_ptr<Operations> operations(new Operations(store, most_running));
  RS_CHECK(operations->load());
  for (std::size_t i = 0; i < kThreads; ++i)
    operations->threads_.emplace_back([raw = operations.get()] { raw->work(); });
  return operations;
}

Result<void> Operations::load() {
  RS_TRY(auto texts, store_.operations());
  for (auto text = texts.rbegin(); text != texts.rend(); ++text) {
    auto state = json::parse(*text, nullptr, false);
    if (!state.is_object() || !state.contains("operation")) continue;
    auto operation = std::make_shared<Operation>();
    operation->ended = true;
    std::uint64_t created = 0;
    parse_time(state.value("created_time", ""), created);
    operation->created_100ns = created;
    const auto id = state["operation"].get<std::string>();
    operation->state = std::move(state);
    if (operation->state["state"] == "running") {
      operation->state["state"] = "failed";
      operation->state["ended_time"] = time_text(now_100ns());
      operation->state["problem"] =
          problem(problem_kind("interrupted"), "the coordinator ended before this was done; begin it again");
      RS_CHECK(store_.set_operation(id, created, one_line(operation->state)));
    }
    tell(*operation, operation->state["state"] == "done" ? "done" : "failed");
    operations_[id] = operation;
    order_.push_back(id);
  }
  return {};
}

Operations::~Operations() {
  stop();
  for (auto& thread : threads_) thread.join();
}

void Operations::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

Result<json> Operations::begin(const std::string& kind, const std::string& about, const std::string& who,
                               Task task) {
  auto operation = std::make_shared<Operation>();
  const auto id = random_hex(12);
  operation->created_100ns = now_100ns();
  operation->task = std::move(task);
  operation->state = {{"operation", id},   {"kind", kind},
                      {"about", about},    {"state", "running"},
                      {"created_by", who}, {"created_time", time_text(operation->created_100ns)}};
  {
    std::lock_guard lock(mutex_);
    if (running_ >= most_running_ || stopping_)
      return fail(ErrorCode::busy, std::to_string(running_) + " operations are under way; try again later");
    ++running_;
  }
  auto noted = store_.set_operation(id, operation->created_100ns, one_line(operation->state));
  std::lock_guard lock(mutex_);
  if (!noted) {
    --running_;
    return tl::unexpected(std::move(noted).error());
  }
  tell(*operation, "progress");
  operations_[id] = operation;
  order_.push_back(id);
  forget_old();
  due_.emplace(Clock::now(), operation);
  changed_.notify_all();
  return operation->state;
}

void Operations::forget_old() {
  for (std::size_t at = 0; order_.size() - at > server::StateStore::kMaxOperations && at < order_.size();) {
    auto found = operations_.find(order_[at]);
    if (found != operations_.end() && !found->second->ended) {
      ++at;
      continue;
    }
    if (found != operations_.end()) operations_.erase(found);
    order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

std::optional<json> Operations::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  auto found = operations_.find(id);
  if (found == operations_.end()) return std::nullopt;
  return found->second->state;
}

std::vector<json> Operations::all() const {
  std::lock_guard lock(mutex_);
  std::vector<json> list;
  for (const auto& [id, operation] : operations_) list.push_back(operation->state);
  return list;
}

Result<Operations::Events> Operations::events(const std::string& id, std::uint64_t after,
                                              std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  auto found = operations_.find(id);
  if (found == operations_.end()) return fail(ErrorCode::not_found, "no operation '" + id + "'");
  const auto operation = found->second;
  changed_.wait_for(lock, patience,
                    [&] { return stopping_ || operation->last_event > after || operation->ended; });
  Events result;
  for (const auto& event : operation->events)
    if (event.number > after) result.events.push_back(event);
  result.ended = operation->ended || stopping_;
  return result;
}

void Operations::tell(Operation& operation, const char* name) {
  operation.last_told = Clock::now();
  operation.events.push_back({++operation.last_event, name, one_line(operation.state)});
  if (operation.events.size() > kMostEvents) operation.events.pop_front();
}

void Operations::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (due_.empty()) {
      changed_.wait(lock);
    } else if (const auto when = due_.begin()->first; when > Clock::now()) {
      changed_.wait_until(lock, when);
    } else {
      auto operation = due_.begin()->second;
      due_.erase(due_.begin());
      lock.unlock();
      run(operation);
      lock.lock();
    }
  }
}

void Operations::run(const Shared& operation) {
  auto progress = [&](const admin::Progress& made) {
    std::lock_guard lock(mutex_);
    operation->state["progress"] = {{"what", made.what}, {"done", made.done}, {"total", made.total}};
    if (Clock::now() - operation->last_told < kBetweenProgress) return;
    tell(*operation, "progress");
    changed_.notify_all();
  };
  std::optional<Result<json>> result;
  try {  // the root of this thread
    result = operation->task(progress);
  } catch (const std::exception& error) {
    log_event(roamstead::Event::admin_command_broken, "an operation failed: {}", error.what());
    result = Result<json>(fail(ErrorCode::internal, error.what()));
  }
  if (result) {
    end(operation, *result);
    return;
  }
  std::lock_guard lock(mutex_);
  due_.emplace(Clock::now() + kAskAgain, operation);
}

void Operations::end(const Shared& operation, const Result<json>& result) {
  json state;
  std::string id;
  {
    std::lock_guard lock(mutex_);
    state = operation->state;
  }
  id = state["operation"].get<std::string>();
  state["ended_time"] = time_text(now_100ns());
  state["state"] = result ? "done" : "failed";
  if (result) {
    state["result"] = from_command(*result);
    if (one_line(state).size() > kMostResultBytes) state["result"] = {{"too_large", true}};
  } else {
    state["problem"] = problem(kind_of(result.error().code), result.error().to_string());
  }
  // Durable first: who has read that it is done must not read otherwise after a crash.
  if (auto noted = store_.set_operation(id, operation->created_100ns, one_line(state)); !noted)
    log_event(roamstead::Event::operation_unnoted, "operation {}: its end cannot be noted: {}", id,
              noted.error().to_string());
  std::lock_guard lock(mutex_);
  operation->state = std::move(state);
  operation->task = nullptr;
  operation->ended = true;
  --running_;
  tell(*operation, result ? "done" : "failed");
  changed_.notify_all();
}

}  // namespace roamstead::rest
