// The agent as the service manager runs it, and its entry there.
#pragma once

#include <functional>

#include "common/base/result.h"

namespace roamstead::agent {

inline constexpr const wchar_t* kAgentService = L"RoamsteadAgent";

// The logs of this process: the rotating file, and whatever else `also_shown` says goes to standard error.
void begin_logging(bool also_shown);

// Until the service manager wants it to stop. ErrorCode::unavailable when it did not start this process.
Result<void> run_as_agent_service();
// Until `stop` over the control pipe; `ready` is called when it can be spoken to.
Result<void> run_in_foreground(const std::function<void()>& ready);

Result<void> install_agent_service();
Result<void> uninstall_agent_service();

}  // namespace roamstead::agent
