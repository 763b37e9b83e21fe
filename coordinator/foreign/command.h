// Another program, run to its end (common/os/program.h), looked for in PATH.
#pragma once

#include "common/os/program.h"

namespace roamstead::foreign {

using CommandOutput = os::ProgramOutput;
using CommandOptions = os::ProgramOptions;

// ErrorCode::unavailable when the program is not there.
Result<CommandOutput> run_command(const std::vector<std::string>& arguments);
// The same within bounds.
Result<CommandOutput> run_command(const std::vector<std::string>& arguments, const CommandOptions& options);

}  // namespace roamstead::foreign
