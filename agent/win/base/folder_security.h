// Whose a folder of ours is, and who may do what in it.
#pragma once

#include <windows.h>

#include <string>

#include "common/base/result.h"

namespace roamstead::win {

// Gives an open folder (READ_CONTROL, WRITE_DAC and WRITE_OWNER) owner, group and access list of `sddl`,
// which protects the list from what the folder above would add; what is in the folder inherits it. Nothing is
// done where all is so already. `what` is for messages.
Result<void> protect_folder(HANDLE folder, const std::string& sddl, const std::string& what);

}  // namespace roamstead::win
