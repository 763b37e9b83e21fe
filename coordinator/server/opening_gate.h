// Keeps desktops from opening profiles while their disk is about to go.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/base/result.h"

namespace roamstead::server {

// Thread-safe.
class OpeningGate {
 public:
  // As long as it lives. Must not outlive the gate.
  using Hold = std::shared_ptr<const void>;

  // Around every opening. ErrorCode::busy while the gate is shut for that desktop.
  Result<Hold> enter(const std::string& desktop) {
    std::lock_guard guard(mutex_);
    auto& state = states_[desktop];
    if (state.shut != 0)
      return fail(ErrorCode::busy, "desktop '" + desktop + "' is being set back or deleted; try again later");
    ++state.inside;
    return hold(desktop, &State::inside);
  }
  // Returns when those that were inside are out.
  Hold shut(const std::string& desktop) {
    std::unique_lock lock(mutex_);
    ++states_[desktop].shut;
    left_.wait(lock, [&] { return states_[desktop].inside == 0; });
    return hold(desktop, &State::shut);
  }

 private:
  struct State {
    int shut = 0;
    int inside = 0;
  };
  Hold hold(const std::string& desktop, int State::*count) {
    return Hold(static_cast<const void*>(this), [this, desktop, count](const void*) {
      std::lock_guard guard(mutex_);
      auto& state = states_[desktop];
      --(state.*count);
      if (state.shut == 0 && state.inside == 0) states_.erase(desktop);
      left_.notify_all();
    });
  }

  std::mutex mutex_;
  std::condition_variable left_;
  std::map<std::string, State> states_;
};

}  // namespace roamstead::server
