#include "agent/core/settler.h"

#include "agent/core/loader.h"
#include "common/base/log.h"

namespace roamstead::agent {

void Settler::start() {
  worker_.start([this] { run(); });
}

void Settler::add(const Touched& touched) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) return;
    waiting_.push_back(touched);
  }
  worker_.ring();
}

std::size_t Settler::waiting() const {
  std::lock_guard lock(mutex_);
  return waiting_.size();
}

void Settler::run() {
  while (!worker_.stopping()) {
    std::optional<Touched> next;
    {
      std::lock_guard lock(mutex_);
      if (!waiting_.empty()) next = waiting_.front();
    }
    if (!next) {
      worker_.wait();
      continue;
    }
    if (!give_way()) return;
    auto settled = settle(*next);
    if (!settled && settled.error().code == ErrorCode::stale) return;  // the session is no longer ours
    if (!settled) log_info("left until it is wanted: {}", settled.error().to_string());
    std::lock_guard lock(mutex_);
    waiting_.pop_front();
  }
}

// False when it shall stop.
bool Settler::give_way() {
  const auto patience = Activity::Clock::now() + kLongestWait;
  while (Activity::Clock::now() < patience && !loader_.activity().idle_for(kQuiet))
    if (worker_.stopping() || !worker_.sleep(std::chrono::milliseconds(20))) return false;
  return !worker_.stopping();
}

Result<void> Settler::settle(const Touched& touched) {
  RS_CHECK(loader_.populate_above(touched.path, Priority::background));
  auto place = touched.path.is_root() ? root_ : root_ + "/" + touched.path.text();
  auto opened = volume_.open(place, "");
  if (!opened && opened.error().code == ErrorCode::not_found) return {};  // a program removed or moved it
  RS_TRY(auto handle, std::move(opened));
  if (touched.directory) return loader_.populate(*handle, Priority::background);
  return loader_.load(*handle, touched.range, Priority::background);
}

}  // namespace roamstead::agent
