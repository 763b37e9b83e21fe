// A step for the test of roamstead-firstboot under Wine: starts a process that shows that it lives, by a file
// that grows, and waits. Where a file "enough" lies in the folder of the scripts it ends at once,
// successfully.
#include <windows.h>

#include <cwchar>

namespace {

constexpr DWORD kBeat_ms = 20;
constexpr int kBeats = 3000;  // a minute: nothing is left over from a test that went wrong

bool there(const wchar_t* name) { return ::GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES; }

int beat() {
  for (int i = 0; i < kBeats; ++i) {
    const auto file = ::CreateFileW(L"beats", FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                    OPEN_ALWAYS, 0, nullptr);
    DWORD count = 0;
    ::WriteFile(file, "x", 1, &count, nullptr);
    ::CloseHandle(file);
    ::Sleep(kBeat_ms);
  }
  return 0;
}

}  // namespace

int main() {
  if (std::wcsstr(::GetCommandLineW(), L"--beat") != nullptr) return beat();
  if (there(L"enough")) return 0;
  wchar_t own[MAX_PATH] = L"";
  ::GetModuleFileNameW(nullptr, own, MAX_PATH);
  wchar_t line[] = L"probe --beat";
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION process{};
  if (::CreateProcessW(own, line, nullptr, nullptr, FALSE, 0, nullptr, nullptr, &startup, &process) == 0)
    return 1;
  return beat();
}
