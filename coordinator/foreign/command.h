// Another program, run to its end.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace roamstead::foreign {

struct CommandOutput {
  int status = 0;  // as a shell gives it: 128 + signal when it was killed
  std::string out;
  std::string err;
};

inline constexpr std::size_t kMaxOutputBytes = 4u << 20;  // of each; what is beyond is dropped

// `arguments[0]` is looked for in PATH. No shell is involved.
// ErrorCode::unavailable when the program is not there.
Result<CommandOutput> run_command(const std::vector<std::string>& arguments);

struct CommandOptions {
  // It and what it started are ended after that, and the error is ErrorCode::timeout.
  std::chrono::milliseconds within{60'000};
  // "NAME=VALUE", in place of those of this process.
  std::vector<std::string> environment = {};
};
// The same within bounds. Over when the program itself has ended: what it leaves running in the background
// may keep its output open.
Result<CommandOutput> run_command(const std::vector<std::string>& arguments, const CommandOptions& options);

}  // namespace roamstead::foreign
