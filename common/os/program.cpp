#include "common/os/program.h"

namespace roamstead::os {
namespace {

constexpr std::size_t kMostShown = 2000;  // bytes of a program's output in an error

std::string one_line(const std::string& output) {
  std::string line;
  for (const char c : output) {
    if (line.size() >= kMostShown) return line + " ...";
    const bool blank = static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
    if (!blank)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

// Backslashes mean themselves but before a quote, where each has to be doubled.
void append_quoted(std::string& line, const std::string& argument) {
  if (!argument.empty() && argument.find_first_of(" \t\n\v\"") == std::string::npos) {
    line += argument;
    return;
  }
  line += '"';
  std::size_t backslashes = 0;
  for (const char c : argument) {
    if (c == '"') line.append(backslashes + 1, '\\');
    backslashes = c == '\\' ? backslashes + 1 : 0;
    line += c;
  }
  line.append(backslashes, '\\');
  line += '"';
}

}  // namespace

std::string describe_failure(const std::string& program, const ProgramOutput& output) {
  const auto said = one_line(output.err.empty() ? output.out : output.err);
  return program + " ended with status " + std::to_string(output.status) + (said.empty() ? "" : ": " + said);
}

std::string windows_command_line(const std::vector<std::string>& arguments) {
  std::string line;
  for (const auto& argument : arguments) {
    if (!line.empty()) line += ' ';
    append_quoted(line, argument);
  }
  return line;
}

}  // namespace roamstead::os
