#include "agent/firstboot/win/machine_win.h"

#include <windows.h>

#include <algorithm>
#include <array>

#include "agent/win/base/handle.h"
#include "common/base/text.h"

namespace roamstead::firstboot {

using win::Handle;

namespace {

constexpr int kMostReads = 256;  // of what a step printed, between looks at the clock
constexpr DWORD kLook_ms = 20;   // between looks at what a step printed
constexpr std::string_view kSystemRoot = "%SystemRoot%";

std::string expanded(std::string text) {
  const auto at = text.find(kSystemRoot);
  if (at > 1) return text;  // the first thing, or the first within quotes
  std::array<wchar_t, MAX_PATH> root{};
  ::GetSystemWindowsDirectoryW(root.data(), static_cast<UINT>(root.size()));
  return text.replace(at, kSystemRoot.size(), narrow_text(root.data()));
}

// Ends its processes when it is closed, if only because this process is killed: no step runs twice at a time.
Result<void> kill_on_close(HANDLE job, bool kill) {
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags = kill ? JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE : 0;
  if (::SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits) == 0)
    return windows_error("cannot limit the job");
  return {};
}

// What a step prints, taken from its pipe as it comes: a step that fills the disk, or leaves the pipe open
// after its end, harms nobody.
class Output {
 public:
  Result<void> open(const std::string& path) {
    RS_TRY(const auto name, wide_text(path));
    file_ = Handle(::CreateFileW(name.c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                                 CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!file_) return windows_error(path + ": cannot make");
    SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
    if (::CreatePipe(read_.put(), write_.put(), &inherited, 0) == 0)
      return windows_error("cannot make a pipe");
    ::SetHandleInformation(read_.get(), HANDLE_FLAG_INHERIT, 0);
    return {};
  }
  HANDLE inherited() const { return write_.get(); }
  void close_inherited() { write_.close(); }
  void take() {
    std::array<char, 4096> buffer{};
    DWORD there = 0;
    // Bounded: who writes without end must not keep this from looking at the clock.
    for (int left = kMostReads;
         left > 0 && ::PeekNamedPipe(read_.get(), nullptr, 0, nullptr, &there, nullptr) != 0 && there > 0;
         --left) {
      DWORD count = 0;
      const auto wanted = std::min<DWORD>(there, static_cast<DWORD>(buffer.size()));
      if (::ReadFile(read_.get(), buffer.data(), wanted, &count, nullptr) == 0 || count == 0) return;
      const auto kept = static_cast<DWORD>(std::min<std::uint64_t>(count, kMostOutputBytes - written_));
      DWORD done = 0;
      if (kept > 0) ::WriteFile(file_.get(), buffer.data(), kept, &done, nullptr);
      written_ += kept;
    }
  }

 private:
  Handle file_, read_, write_;
  std::uint64_t written_ = 0;
};

Result<void> start(const Command& command, const Output& output, PROCESS_INFORMATION& process) {
  RS_TRY(const auto program, wide_text(expanded(command.program)));
  RS_TRY(auto line, wide_text(expanded(command.line)));
  RS_TRY(const auto folder, wide_text(command.folder));
  SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
  const Handle nothing(::CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                                     OPEN_EXISTING, 0, nullptr));
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  startup.dwFlags = STARTF_USESTDHANDLES;
  startup.hStdInput = nothing.get();
  startup.hStdOutput = startup.hStdError = output.inherited();
  if (::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, TRUE,
                       CREATE_SUSPENDED | CREATE_NO_WINDOW, nullptr, folder.c_str(), &startup, &process) == 0)
    return windows_error("cannot start " + narrow_text(program));
  return {};
}

}  // namespace

WindowsMachine::WindowsMachine() : stop_(::CreateEventW(nullptr, TRUE, FALSE, nullptr)) {
  // A step that crashes must not wait for somebody to close a message.
  ::SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
}
WindowsMachine::~WindowsMachine() { ::CloseHandle(stop_); }
void WindowsMachine::request_stop() { ::SetEvent(stop_); }
bool WindowsMachine::stop_requested() { return ::WaitForSingleObject(stop_, 0) == WAIT_OBJECT_0; }
bool WindowsMachine::pause(std::chrono::milliseconds length) {
  return ::WaitForSingleObject(stop_, static_cast<DWORD>(length.count())) == WAIT_TIMEOUT;
}

std::string WindowsMachine::time_text() {
  SYSTEMTIME now{};
  ::GetSystemTime(&now);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04u-%02u-%02uT%02u:%02u:%02uZ", now.wYear, now.wMonth, now.wDay,
                now.wHour, now.wMinute, now.wSecond);
  return text.data();
}

Result<Machine::Ended> WindowsMachine::run(const Command& command, std::chrono::seconds timeout,
                                           const std::string& output_path) {
  Output output;
  RS_CHECK(output.open(output_path));
  const Handle job(::CreateJobObjectW(nullptr, nullptr));
  if (job.get() == nullptr) return windows_error("cannot make a job");
  RS_CHECK(kill_on_close(job.get(), true));
  PROCESS_INFORMATION started{};
  RS_CHECK(start(command, output, started));
  const Handle process(started.hProcess), thread(started.hThread);
  // Before its first instruction: nothing that it starts is outside.
  if (::AssignProcessToJobObject(job.get(), process.get()) == 0) {
    auto error = windows_error("cannot put the step into its job");
    ::TerminateProcess(process.get(), 1);
    return error;
  }
  ::ResumeThread(thread.get());
  output.close_inherited();
  const auto end = std::chrono::steady_clock::now() + timeout;
  const std::array<HANDLE, 2> waited{process.get(), stop_};
  Ended ended;
  for (;;) {
    const auto what =
        ::WaitForMultipleObjects(static_cast<DWORD>(waited.size()), waited.data(), FALSE, kLook_ms);
    output.take();
    if (what == WAIT_OBJECT_0) {
      DWORD exit = 0;
      if (::GetExitCodeProcess(process.get(), &exit) == 0) return windows_error("cannot learn how it ended");
      ended.exit = exit;
      break;
    }
    if (what == WAIT_OBJECT_0 + 1) break;
    if (what == WAIT_FAILED) return windows_error("cannot wait for the step");
    ended.timed_out = std::chrono::steady_clock::now() >= end;
    if (ended.timed_out) break;
  }
  // What it left running on purpose, having succeeded, goes on; it has succeeded even if that cannot be.
  if (ended.exit && (*ended.exit == 0 || wants_restart(*ended.exit))) {
    static_cast<void>(kill_on_close(job.get(), false));
  } else {
    ::TerminateJobObject(job.get(), 1);
    ::WaitForSingleObject(process.get(), INFINITE);
  }
  output.take();
  return ended;
}

Result<void> restart_windows() {
  Handle token;
  if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, token.put()) == 0)
    return windows_error("cannot open the own token");
  TOKEN_PRIVILEGES wanted{};
  wanted.PrivilegeCount = 1;
  wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
  if (::LookupPrivilegeValueW(nullptr, L"SeShutdownPrivilege", &wanted.Privileges[0].Luid) == 0 ||
      ::AdjustTokenPrivileges(token.get(), FALSE, &wanted, 0, nullptr, nullptr) == 0)
    return windows_error("may not restart Windows");
  constexpr DWORD kWhy =
      SHTDN_REASON_MAJOR_SOFTWARE | SHTDN_REASON_MINOR_INSTALLATION | SHTDN_REASON_FLAG_PLANNED;
  if (::ExitWindowsEx(EWX_REBOOT | EWX_FORCEIFHUNG, kWhy) != 0) return {};
  // Somebody else, such as the installer, was faster.
  if (::GetLastError() == ERROR_SHUTDOWN_IN_PROGRESS) return {};
  return windows_error("cannot restart Windows");
}

}  // namespace roamstead::firstboot
