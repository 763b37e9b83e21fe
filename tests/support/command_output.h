// What other people's programs say.
#pragma once

#include <string>

#include "tests/support/command.h"

namespace roamstead::support {

// What the command writes to its standard output; its errors are for the log of a failed test.
std::string output_of(const std::string& command);

}  // namespace roamstead::support
