#include <cstdlib>
#include <iostream>

#include "tests/support/command.h"

namespace roamstead::support {

bool run(const std::string& command) {
  return std::system(("PATH=$PATH:/usr/sbin:/sbin; " + command).c_str()) == 0;
}

bool available(const std::string& program) {
  if (run_quietly("command -v " + program)) return true;
  std::cout << "skipped: " << program << " is not installed\n";
  return false;
}

}  // namespace roamstead::support
