// Runs the steps of a desktop's first start, in their order and each until it is done once
// (docs/format-firstboot.md). What to do next is decided from state.json alone, which is replaced before and
// after each attempt: a process that is killed, and a machine that loses power, go on where they were.
//
// Not thread-safe. One at a time for a folder, across processes: a second one is ErrorCode::busy.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "agent/firstboot/command.h"
#include "common/firstboot/state.h"
#include "common/os/file.h"

namespace roamstead::firstboot {

// What the runner wants of the system.
class Machine {
 public:
  struct Ended {
    std::optional<std::uint32_t> exit;  // nothing: it was ended, with all processes that it started
    bool timed_out = false;             // else because of a request to stop
  };
  virtual ~Machine() = default;

  // Waits for the end. What it writes to standard output and error goes to the file at `output`, at most
  // kMostOutputBytes of it. An error: it could not be started.
  virtual Result<Ended> run(const Command& command, std::chrono::seconds timeout,
                            const std::string& output) = 0;
  // False where it was cut short by a request to stop.
  virtual bool pause(std::chrono::milliseconds length) = 0;
  virtual bool stop_requested() = 0;
  virtual std::string time_text() = 0;  // "2026-11-22T19:00:00Z"
};
inline constexpr std::uint64_t kMostOutputBytes = 1u << 20;

enum class Outcome : std::uint8_t {
  done,     // all of it
  failed,   // a step, and state.json says so
  restart,  // the machine is to be restarted before the next step
  stopped   // on request
};

class Runner {
 public:
  // `folder` holds steps.json and scripts. Both must outlive it.
  Runner(os::FileSystem& files, Machine& machine, std::string folder)
      : files_(files), machine_(machine), folder_(std::move(folder)) {}

  // `again`: a step that failed gets new attempts. Errors are those of reading and writing what is in the
  // folder; nothing is run then.
  Result<Outcome> run(bool again = false);

 private:
  Result<Outcome> run_steps(const std::vector<Step>& steps, bool again);
  Result<std::optional<Outcome>> run_step(const Step& step, std::size_t index);
  Result<bool> attempt(const Step& step, std::size_t index);
  Result<void> load_state(const std::vector<Step>& steps);
  Result<void> save();

  os::FileSystem& files_;
  Machine& machine_;
  const std::string folder_;
  State state_;
};

// 3010 and 1641, of the Windows Installer: done, but Windows must be restarted, or is being.
bool wants_restart(std::uint32_t exit);
std::string steps_path(const std::string& folder);
std::string state_path(const std::string& folder);
// Nothing: there is none, nothing was run.
Result<std::optional<State>> read_state(os::FileSystem& files, const std::string& folder);

}  // namespace roamstead::firstboot
