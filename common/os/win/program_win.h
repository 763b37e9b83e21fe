// Inside common/os/win: how a program is run depends on what it is.
#pragma once

#include "common/os/program.h"

namespace roamstead::os {

// Under Wine a path may name a program of the host's, a script for instance. CreateProcess starts it, but
// tells neither when it ends nor how. For the test environment alone: on Windows it is always false.
bool is_host_program(const std::string& path);
// As run_program().
Result<ProgramOutput> run_host_program(const std::vector<std::string>& arguments,
                                       const ProgramOptions& options);

}  // namespace roamstead::os
