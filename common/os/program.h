// Another program, run to its end within bounds. No shell is involved, and it gets nothing to read.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace roamstead::os {

struct ProgramOutput {
  int status = 0;  // its exit code; on Linux 128 + signal when it was killed
  std::string out;
  std::string err;
};

inline constexpr std::size_t kMostOutputBytes = 4u << 20;

struct ProgramOptions {
  // It and what it started are ended after that, and the error is ErrorCode::timeout. Nothing: it takes what
  // it takes, and who ends this program at a terminal ends that one too.
  std::optional<std::chrono::milliseconds> within{60'000};
  std::size_t most_output_bytes = kMostOutputBytes;  // of each of the two; what is beyond is dropped
  // "NAME=VALUE", in place of those of this process.
  std::vector<std::string> environment = {};
};

// `arguments[0]` is a path, or a name that is looked for in PATH (on Windows in CreateProcess' places).
// Over when the program itself has ended: what it leaves running in the background may keep its output open.
// ErrorCode::unavailable when the program is not there.
Result<ProgramOutput> run_program(const std::vector<std::string>& arguments, const ProgramOptions& options);

// "PROGRAM ended with status 3: the first words of what it wrote", for an error; its standard error first.
std::string describe_failure(const std::string& program, const ProgramOutput& output);

// The arguments as one command line that Windows' programs take apart into the same arguments again (the
// rules of CommandLineToArgvW and of the C runtimes).
std::string windows_command_line(const std::vector<std::string>& arguments);

}  // namespace roamstead::os
