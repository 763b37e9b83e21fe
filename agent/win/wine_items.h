// The test environment's port: under Wine, where Windows' calls end in Linux' and do not reach NTFS' creation
// times, attributes, security and reparse points, ntfs-3g's extended attributes do, asked for by Linux' own
// system calls, which a Windows program under Wine 8 may make. Never used on Windows.
#pragma once

#include "agent/win/item_port.h"

namespace roamstead::agent {

// ErrorCode::unsupported when `volume_root` is on no volume of ntfs-3g with alternate streams. Only where
// win::under_wine().
Result<std::unique_ptr<ItemPort>> make_wine_items(HANDLE volume_root, const std::string& drive);

}  // namespace roamstead::agent
