// How a step is started on Windows.
#pragma once

#include <string>

#include "common/firstboot/steps.h"

namespace roamstead::firstboot {

struct Command {
  std::string program;  // its path; one that begins with %SystemRoot% is Windows' own
  std::string line;     // the whole command line, program and all, as CreateProcess takes it
  std::string folder;   // to begin in
};

// `scripts` is the folder of the scripts, with backslashes. ErrorCode::unsupported for a kind of step that
// this version does not know.
Result<Command> command_of(const Step& step, const std::string& scripts);

// What a built-in step does, in PowerShell. Exits with 0 when it is done, or was done before.
std::string built_in_script(const Step& step);

}  // namespace roamstead::firstboot
