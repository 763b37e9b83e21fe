// hooked_launch32 LIBRARY PROGRAM [ARGUMENT...]: as hooked_launch, of 32 bits and without anything else of
// ours: only the hook itself is built for 32-bit programs.
#include <windows.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace {

int give_up(const char* what) {
  std::fprintf(stderr, "hooked_launch32: %s: error %lu\n", what, ::GetLastError());
  return 125;
}

}  // namespace

int main() {
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
  const auto module = ::LoadLibraryW(library.c_str());
  if (module == nullptr) return give_up("the hook");
  struct {
    std::uint32_t patched, absent, unknown, refused;
  } report{};
  const auto tell = reinterpret_cast<void (*)(void*)>(
      reinterpret_cast<void*>(::GetProcAddress(module, "RoamsteadHookReport")));
  if (tell == nullptr) return give_up("no hook");
  tell(&report);
  if (report.patched == 0 || report.unknown != 0 || report.refused != 0)
    return give_up("not all is intercepted");
  std::wstring command = line;
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION started{};
  if (::CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &startup,
                       &started) == 0)
    return give_up("starting");
  DWORD status = 0;
  ::WaitForSingleObject(started.hProcess, INFINITE);
  ::GetExitCodeProcess(started.hProcess, &status);
  return static_cast<int>(status);
}
