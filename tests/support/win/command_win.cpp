// A program of Windows, also one that Wine runs, cannot run those of Linux and wait for them: what they judge
// is judged by the same tests on Linux.
#include <iostream>

#include "tests/support/command_output.h"

namespace roamstead::support {

bool run(const std::string&) { return false; }

std::string output_of(const std::string&) { return {}; }

bool available(const std::string& program) {
  std::cout << "skipped: " << program << " judges on Linux only\n";
  return false;
}

}  // namespace roamstead::support
