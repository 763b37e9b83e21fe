// Other people's programs as judges: programs of Linux.
#pragma once

#include <string>

namespace roamstead::support {

// Whether the command ended well. Its output is for the log of a failed test.
bool run(const std::string& command);
inline bool run_quietly(const std::string& command) { return run("{ " + command + "; } >/dev/null 2>&1"); }

// Whether a program is installed and can be run from here; says so when not: tests then skip.
bool available(const std::string& program);

}  // namespace roamstead::support
