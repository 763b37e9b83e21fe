#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "tests/support/command_output.h"

namespace roamstead::support {

bool run(const std::string& command) {
  return std::system(("PATH=$PATH:/usr/sbin:/sbin; " + command).c_str()) == 0;
}

bool available(const std::string& program) {
  if (run_quietly("command -v " + program)) return true;
  std::cout << "skipped: " << program << " is not installed\n";
  return false;
}

std::string output_of(const std::string& command) {
  std::string output;
  FILE* pipe = ::popen(("PATH=$PATH:/usr/sbin:/sbin; " + command).c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[65536];
  for (std::size_t count; (count = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    output.append(buffer, count);
  ::pclose(pipe);
  return output;
}

}  // namespace roamstead::support
