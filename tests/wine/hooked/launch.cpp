// hooked_launch LIBRARY PROGRAM [ARGUMENT...]: runs a program with the hook in it, as `roamstead-agent run`
// does.
#include <cstdio>
#include <cwchar>

#include "agent/win/intercept/injection.h"

int main() {
  using namespace roamstead::agent;
  // The line as it was typed, so that quotes stay as they are: our own name and the library left out.
  const wchar_t* line = ::GetCommandLineW();
  std::wstring library;
  for (int word = 0; word < 2; ++word) {
    const wchar_t end = *line == L'"' ? L'"' : L' ';
    if (end == L'"') ++line;
    library.clear();
    while (*line != 0 && *line != end) library += *line++;
    if (*line == L'"') ++line;
    while (*line == L' ') ++line;
  }
  const auto status = run_hooked(roamstead::win::narrow(line), roamstead::win::narrow(library));
  if (!status) {
    std::fprintf(stderr, "hooked_launch: %s\n", status.error().to_string().c_str());
    return 125;
  }
  return static_cast<int>(*status);
}
