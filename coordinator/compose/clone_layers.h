// The layers of a desktop's disk above what it was made from, as they lie on the host: which came when it was
// frozen is read from the files, so that nothing needs to be remembered, and no crash leaves anything wrong.
#pragma once

#include <string>
#include <vector>

#include "common/vdisk/disk.h"

namespace roamstead::compose {

// What the desktop's machine writes to. `active` is the path it was made with ("NAME.vhdx"); a freeze may
// have put layers above it, called NAME.0001.vhdx and so on.
std::string current_top(os::FileSystem& files, const std::string& active);
// From the top down: the top, and what was frozen beneath it, called NAME and NAME.0001 and so on. The
// reference snapshot and the template are not among them. Of layers that others hold open nothing is read but
// what they say of themselves.
Result<std::vector<vdisk::LayerInfo>> layers_of_clone(os::FileSystem& files, const std::string& active);
// A name for the next one, "NAME.0007.vhdx", that no file has.
Result<std::string> next_top(os::FileSystem& files, const std::string& active);

}  // namespace roamstead::compose
