// What other people's programs say. Not for tests that are built for Windows too.
#pragma once

#include <cstdio>
#include <string>

#include "tests/support/command.h"

namespace roamstead::support {

// What the command writes to its standard output; its errors are for the log of a failed test.
inline std::string output_of(const std::string& command) {
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
