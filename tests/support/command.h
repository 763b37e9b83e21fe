// Other people's programs as judges.
#pragma once

#include <cstdlib>
#include <iostream>
#include <string>

namespace roamstead::support {

// Whether the command ended well. Its output is for the log of a failed test.
inline bool run(const std::string& command) {
  return std::system(("PATH=$PATH:/usr/sbin:/sbin; " + command).c_str()) == 0;
}
inline bool run_quietly(const std::string& command) { return run("{ " + command + "; } >/dev/null 2>&1"); }

// Whether a program is installed; says so when not: tests then skip.
inline bool available(const std::string& program) {
  if (run_quietly("command -v " + program)) return true;
  std::cout << "skipped: " << program << " is not installed\n";
  return false;
}

}  // namespace roamstead::support
