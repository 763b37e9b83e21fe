// Rules of a profile through a whole coordinator and real desktops: what is left out, kept for log-out, too
// large, loaded first or only when it is touched, and kept on one desktop.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::flow {

// Works in `directory`, which is empty. The error says what is not as it ought to be.
Result<void> run_rules_flow(const std::string& directory);

}  // namespace roamstead::flow
