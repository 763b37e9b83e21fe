// User data disks on the host.
#pragma once

#include <string>

#include "coordinator/compose/pool_spec.h"

namespace roamstead::compose {

// On the host; "" for a pool whose desktops have none.
std::string data_disk_path(const PoolSpec& spec, const std::string& clone);

}  // namespace roamstead::compose
