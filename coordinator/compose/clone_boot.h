// How far a desktop is on its way to its first user.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"

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

// What ProgramData/Roamstead/firstboot/state.json says (docs/format-firstboot.md); foreign input. `steps`
// are those that there are to do.
Result<CloneBoot> parse_first_boot_state(std::string_view json, std::size_t steps);

}  // namespace roamstead::compose
