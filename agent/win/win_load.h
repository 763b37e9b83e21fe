// How busy this machine is, as Windows says: processors by GetSystemTimes, the disk under a volume by its own
// counters, the battery saver.
#pragma once

#include <memory>
#include <string>

#include "agent/core/system_load.h"

namespace roamstead::agent {

// `drive`: "C:".
std::unique_ptr<LoadPort> make_win_load(const std::string& drive);

}  // namespace roamstead::agent
