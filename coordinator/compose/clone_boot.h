// How far a desktop is on its way to its first user.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/os/file.h"

namespace roamstead::compose {

enum class BootState : std::uint8_t {
  made,               // never started, as far as is known; also after a refresh
  started,            // its VM was started, or it has connected; what it runs once is not known to be done
  ready,              // all of that is done, or there is nothing to do
  failed_first_boot,  // a step has failed, and is not tried again
};
std::string_view to_string(BootState state);  // "made", "started", "ready", "failed-first-boot"

struct CloneBoot {
  BootState state = BootState::made;
  std::string detail;             // of a failure
  std::uint64_t since_100ns = 0;  // 0: since it was made
};

// From what a desktop that was started has in ProgramData/Roamstead/firstboot (docs/format-firstboot.md):
// steps.json and state.json, each "" where it is not there. Foreign input; what cannot be understood is
// a failure, with the reason.
CloneBoot judge_first_boot(std::string_view steps, std::string_view state);

class PoolStore;
// Fine for a desktop that is no clone. What says nothing new is not written.
Result<void> note_first_boot(PoolStore& store, const std::string& desktop, CloneBoot boot);
// Looks at the clone's disk, which nobody writes to: nothing where it holds no state of a first start.
Result<std::optional<CloneBoot>> read_first_boot(os::FileSystem& files, const std::string& disk);

}  // namespace roamstead::compose
