#include "agent/win/intercept/injection.h"

#include <vector>

namespace roamstead::agent {

Result<void> hook_this_process(const std::string& library) {
  const auto module = ::LoadLibraryW(win::widen(library).c_str());
  if (module == nullptr) return fail(win::last_windows_error("loading " + library));
  struct {
    std::uint32_t patched, absent, unknown, refused;
  } report{};
  const auto tell = reinterpret_cast<void (*)(void*)>(
      reinterpret_cast<void*>(::GetProcAddress(module, "RoamsteadHookReport")));
  if (tell == nullptr) return fail(ErrorCode::unsupported, library + " is not Roamstead's hook");
  tell(&report);
  if (report.patched == 0)
    return fail(ErrorCode::unsupported, "nothing could be intercepted: " + std::to_string(report.unknown) +
                                            " unknown, " + std::to_string(report.refused) + " refused");
  return {};
}

Result<void> inject(HANDLE process, HANDLE thread, const std::string& library) {
  const auto path = win::widen(library);
  const auto bytes = (path.size() + 1) * sizeof(wchar_t);
  auto* memory = ::VirtualAllocEx(process, nullptr, bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
  SIZE_T written = 0;
  if (memory == nullptr || ::WriteProcessMemory(process, memory, path.c_str(), bytes, &written) == 0)
    return fail(win::last_windows_error("memory in the process to be hooked"));
  // The same address in all processes of one kind, from start to start of Windows.
  const auto load = reinterpret_cast<PAPCFUNC>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernel32.dll"), "LoadLibraryW")));
  if (load == nullptr || ::QueueUserAPC(load, thread, reinterpret_cast<ULONG_PTR>(memory)) == 0)
    return fail(win::last_windows_error("queueing to the process to be hooked"));
  return {};
}

std::uint32_t load_library_of_32_bits(const std::string& library) {
  constexpr DWORD kPatience_ms = 10'000;
  constexpr DWORD kLeastAddress = 0x10000, kBeyond = 0x8000'0000;  // others are errors of the program
  wchar_t folder[MAX_PATH] = L"";
  const auto units = ::GetSystemWow64DirectoryW(folder, MAX_PATH);
  const auto path = win::widen(library);
  if (units == 0 || units >= MAX_PATH || ::GetFileAttributesW(path.c_str()) == INVALID_FILE_ATTRIBUTES)
    return 0;
  const auto program = std::wstring(folder) + L"\\rundll32.exe";
  auto line = L"rundll32.exe \"" + path + L"\",RoamsteadLoader";
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION started{};
  if (::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, FALSE, CREATE_NO_WINDOW, nullptr,
                       nullptr, &startup, &started) == 0)
    return 0;
  const auto process = win::own(started.hProcess), thread = win::own(started.hThread);
  DWORD status = 0;
  if (::WaitForSingleObject(process.get(), kPatience_ms) != WAIT_OBJECT_0) {
    ::TerminateProcess(process.get(), 1);
    return 0;
  }
  return ::GetExitCodeProcess(process.get(), &status) != 0 && status >= kLeastAddress && status < kBeyond
             ? status
             : 0;
}

Result<unsigned long> run_hooked(const std::string& command_line, const std::string& library) {
  RS_CHECK(hook_this_process(library));  // so that the program's own folder is loaded before it is started
  auto line = win::widen(command_line);
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION started{};
  if (::CreateProcessW(nullptr, line.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &startup,
                       &started) == 0)
    return fail(win::last_windows_error("starting " + command_line));
  const auto process = win::own(started.hProcess), thread = win::own(started.hThread);
  DWORD status = 0;
  if (::WaitForSingleObject(process.get(), INFINITE) != WAIT_OBJECT_0 ||
      ::GetExitCodeProcess(process.get(), &status) == 0)
    return fail(win::last_windows_error("waiting for " + command_line));
  return status;
}

}  // namespace roamstead::agent
