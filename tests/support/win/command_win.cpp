// A program of Windows, also one that Wine runs, cannot run those of Linux and wait for them: what they judge
// is judged by the same tests on Linux.
#include <iostream>

#include "tests/support/command.h"

namespace roamstead::support {

bool run(const std::string&) { return false; }

bool available(const std::string& program) {
  std::cout << "skipped: " << program << " judges on Linux only\n";
  return false;
}

}  // namespace roamstead::support
