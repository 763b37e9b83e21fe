#include "agent/firstboot/runner.h"

#include <algorithm>

namespace roamstead::firstboot {
namespace {

constexpr std::uint32_t kRestartRequired = 3010, kRestartBegun = 1641;
constexpr std::chrono::milliseconds kFirstPause{1000}, kLongestPause{30'000};
constexpr int kSaveAttempts = 5;
constexpr std::chrono::milliseconds kSavePause{200};

std::chrono::milliseconds pause_after(std::uint32_t attempts) {
  auto pause = kFirstPause;
  for (std::uint32_t i = 1; i < attempts && pause < kLongestPause; ++i) pause *= 2;
  return std::min(pause, kLongestPause);
}

std::string backslashes(std::string path) {
  std::replace(path.begin(), path.end(), '/', '\\');
  return path;
}

}  // namespace

bool wants_restart(std::uint32_t exit) { return exit == kRestartRequired || exit == kRestartBegun; }
std::string steps_path(const std::string& folder) { return os::join_path(folder, "steps.json"); }
std::string state_path(const std::string& folder) { return os::join_path(folder, "state.json"); }

Result<std::optional<State>> read_state(os::FileSystem& files, const std::string& folder) {
  const auto path = state_path(folder);
  RS_TRY(const bool there, files.exists(path));
  if (!there) return std::nullopt;
  RS_TRY(const auto content, os::read_file(files, path, kMostStepsBytes));
  RS_TRY(auto state, parse_state(as_text(content), path));
  return state;
}

// A virus scanner or a backup may hold the file that is replaced, for a moment.
Result<void> Runner::save() {
  const auto text = state_json(state_);
  for (int left = kSaveAttempts;; --left) {
    auto saved = os::write_file_durably(files_, state_path(folder_), as_bytes(text));
    if (saved || left == 1) return saved;
    const auto code = saved.error().code;
    if (code != ErrorCode::busy && code != ErrorCode::denied) return saved;
    machine_.pause(kSavePause);
  }
}

Result<void> Runner::load_state(const std::vector<Step>& steps) {
  state_ = State();
  RS_TRY(auto stored, read_state(files_, folder_));
  if (!stored) return {};
  state_ = std::move(*stored);
  for (std::size_t at = 0; at < state_.steps.size(); ++at)
    if (at >= steps.size() || state_.steps[at].name != steps[at].name)
      return fail(ErrorCode::conflict, state_path(folder_) +
                                           ": is of other steps than those of steps.json; "
                                           "remove it to begin again");
  return {};
}

Result<Outcome> Runner::run(bool again) {
  RS_TRY(const auto lock, files_.open(os::join_path(folder_, "lock"), os::OpenMode::create));
  if (auto held = lock->lock(true); !held)
    return fail(Error(held.error()).with("another process runs the steps of this first start"));
  RS_TRY(const bool there, files_.exists(steps_path(folder_)));
  if (!there) return Outcome::done;
  RS_TRY(const auto content, os::read_file(files_, steps_path(folder_), kMostStepsBytes));
  const auto steps = parse_steps(as_text(content), "steps.json");
  if (!steps) {
    state_ = State();
    state_.status = Status::failed;
    state_.error = steps.error().to_string();
    RS_CHECK(save());
    return Outcome::failed;
  }
  RS_CHECK(load_state(*steps));
  return run_steps(*steps, again);
}

Result<Outcome> Runner::run_steps(const std::vector<Step>& steps, bool again) {
  if (state_.status == Status::failed) {
    if (!again) return Outcome::failed;
    if (!state_.steps.empty() && state_.steps.back().status == Status::failed) state_.steps.pop_back();
  }
  if (state_.status == Status::done && state_.steps.size() == steps.size()) return Outcome::done;
  state_.status = Status::running;
  state_.error.clear();
  for (std::size_t at = 0; at < steps.size(); ++at) {
    if (at < state_.steps.size() && state_.steps[at].status == Status::done) continue;
    RS_TRY(const auto outcome, run_step(steps[at], at));
    if (outcome) return *outcome;
  }
  state_.status = Status::done;
  RS_CHECK(save());
  return Outcome::done;
}

// Nothing: it is done, and the next one follows.
Result<std::optional<Outcome>> Runner::run_step(const Step& step, std::size_t index) {
  if (index == state_.steps.size()) {
    StepState begun;
    begun.name = step.name;
    state_.steps.push_back(std::move(begun));
  }
  auto& now = state_.steps[index];
  for (;;) {
    // One that is under way here was interrupted: by a kill, a crash, or the machine going down.
    if (now.attempts > 0 && !now.exit && now.error.empty()) now.error = "interrupted";
    if (now.attempts >= step.attempts) {
      now.status = Status::failed;
      state_.status = Status::failed;
      RS_CHECK(save());
      return Outcome::failed;
    }
    if (now.attempts > 0 && !machine_.pause(pause_after(now.attempts))) return Outcome::stopped;
    if (machine_.stop_requested()) return Outcome::stopped;
    RS_TRY(const bool over, attempt(step, index));
    if (!over) return Outcome::stopped;
    if (now.status == Status::done) break;
  }
  if (!wants_restart(*now.exit)) return std::nullopt;
  return Outcome::restart;
}

// False: ended by a request to stop.
Result<bool> Runner::attempt(const Step& step, std::size_t index) {
  auto& now = state_.steps[index];
  ++now.attempts;
  now.status = Status::running;
  now.exit.reset();
  now.error.clear();
  now.began = machine_.time_text();
  now.ended.clear();
  RS_CHECK(save());
  const auto output = os::join_path(folder_, "output");
  RS_CHECK(files_.make_directories(output));
  const auto command = command_of(step, backslashes(os::join_path(folder_, "scripts")));
  auto ended = command ? machine_.run(*command, std::chrono::seconds(step.timeout_seconds),
                                      os::join_path(output, std::to_string(index + 1) + ".txt"))
                       : Result<Machine::Ended>(fail(command.error()));
  now.ended = machine_.time_text();
  if (!ended) {
    now.error = ended.error().to_string();
  } else if (ended->timed_out) {
    now.error = "timed out after " + std::to_string(step.timeout_seconds) + " s";
  } else if (!ended->exit) {
    now.error = "interrupted";
    RS_CHECK(save());
    return false;
  } else {
    now.exit = ended->exit;
    if (*now.exit == 0 || wants_restart(*now.exit)) now.status = Status::done;
    if (wants_restart(*now.exit)) {
      state_.status = Status::restarting;
      ++state_.restarts;
    }
  }
  RS_CHECK(save());
  return true;
}

}  // namespace roamstead::firstboot
