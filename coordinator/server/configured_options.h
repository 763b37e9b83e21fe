// From what an administrator configured to the options of the parts.
#pragma once

#include "coordinator/config/config.h"
#include "coordinator/server/coordinator.h"

namespace roamstead::server {

// ErrorCode::invalid_argument: a path below systemd's credentials where there are none.
Result<CoordinatorOptions> options_for(const config::Config& config);
// log.level.
void apply_log_level(const config::Config& config);

}  // namespace roamstead::server
