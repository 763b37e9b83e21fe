#include "common/os/win/program_win.h"

#include <windows.h>

#include <algorithm>
#include <array>

#include "common/base/text.h"
#include "common/os/win/handle.h"

namespace roamstead::os {
namespace {

using Clock = std::chrono::steady_clock;

constexpr DWORD kLook_ms = 10;   // between looks at what a program printed
constexpr int kMostReads = 256;  // of it, between looks at the clock

tl::unexpected<Error> launch_error(const std::string& program, const std::string& what) {
  const auto number = ::GetLastError();
  const bool missing = number == ERROR_FILE_NOT_FOUND || number == ERROR_PATH_NOT_FOUND;
  const auto code = missing                         ? ErrorCode::unavailable
                    : number == ERROR_ACCESS_DENIED ? ErrorCode::denied
                                                    : ErrorCode::io;
  return fail(code, program + ": " + what + ": Windows error " + std::to_string(number));
}

Result<std::wstring> wide_text(const std::string& text) {
  RS_TRY(const auto units, to_utf16(text));
  return std::wstring(units.begin(), units.end());
}

bool is_batch_file(const std::string& program) {
  const auto ends = [&](const char* extension) {
    return program.size() > 4 && same_name(program.substr(program.size() - 4), extension);
  };
  return ends(".bat") || ends(".cmd");
}

// cmd.exe reads a batch file's command line by other rules: there is no way of quoting that is safe for all
// characters, so those that it gives a meaning are refused.
Result<void> check_batch_arguments(const std::vector<std::string>& arguments) {
  for (const auto& argument : arguments)
    if (argument.find_first_of("\"%!&|<>^\r\n") != std::string::npos)
      return fail(ErrorCode::invalid_argument,
                  arguments[0] + ": '" + argument +
                      "' cannot be passed to a batch file (it has one of \" % ! & | < > ^ or a line's end)");
  return {};
}

// Names of variables compare without regard to case; those of drives ("=C:") are kept as they are.
Result<std::wstring> environment_with(const std::vector<std::string>& replaced) {
  std::wstring block;
  for (const auto& each : replaced) {
    RS_TRY(const auto entry, wide_text(each));
    block += entry + L'\0';
  }
  auto* const own = ::GetEnvironmentStringsW();
  for (const auto* each = own; each != nullptr && *each != 0; each += std::wcslen(each) + 1) {
    const std::wstring entry = each;
    const auto name = entry.substr(0, entry.find(L'=', 1) + 1);
    const auto is_it = [&](const std::string& other) {
      return other.size() >= name.size() &&
             same_name(other.substr(0, name.size()), to_wtf8(std::u16string(name.begin(), name.end())));
    };
    if (std::none_of(replaced.begin(), replaced.end(), is_it)) block += entry + L'\0';
  }
  if (own != nullptr) ::FreeEnvironmentStringsW(own);
  return block + L'\0';
}

class Pipe {
 public:
  Result<void> open(const std::string& program) {
    SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
    if (::CreatePipe(read_.put(), write_.put(), &inherited, 0) == 0)
      return launch_error(program, "no pipe for it");
    ::SetHandleInformation(read_.get(), HANDLE_FLAG_INHERIT, 0);
    return {};
  }
  HANDLE inherited() const { return write_.get(); }
  void close_inherited() { write_.close(); }
  // What there is. Never waits.
  void take(std::string& text, std::size_t limit) {
    std::array<char, 16384> buffer{};
    DWORD there = 0;
    for (int left = kMostReads;
         left > 0 && ::PeekNamedPipe(read_.get(), nullptr, 0, nullptr, &there, nullptr) != 0 && there > 0;
         --left) {
      DWORD count = 0;
      const auto wanted = std::min<DWORD>(there, static_cast<DWORD>(buffer.size()));
      if (::ReadFile(read_.get(), buffer.data(), wanted, &count, nullptr) == 0 || count == 0) return;
      if (text.size() < limit) text.append(buffer.data(), std::min<std::size_t>(count, limit - text.size()));
    }
  }

 private:
  Handle read_, write_;
};

// A list of attributes that lets a child inherit three handles and no others, whatever else is started at the
// same time.
class InheritedHandles {
 public:
  explicit InheritedHandles(std::array<HANDLE, 3> handles) : handles_(handles) {}
  ~InheritedHandles() {
    if (made_) ::DeleteProcThreadAttributeList(list());
  }
  InheritedHandles(const InheritedHandles&) = delete;
  InheritedHandles& operator=(const InheritedHandles&) = delete;
  bool make() {
    SIZE_T bytes = 0;
    ::InitializeProcThreadAttributeList(nullptr, 1, 0, &bytes);
    buffer_.resize(bytes);
    made_ = ::InitializeProcThreadAttributeList(list(), 1, 0, &bytes) != 0;
    return made_ && ::UpdateProcThreadAttribute(list(), 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles_.data(),
                                                sizeof handles_, nullptr, nullptr) != 0;
  }
  LPPROC_THREAD_ATTRIBUTE_LIST list() {
    return reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(buffer_.data());
  }

 private:
  std::array<HANDLE, 3> handles_;
  std::vector<std::byte> buffer_;
  bool made_ = false;
};

Result<void> start(const std::vector<std::string>& arguments, const ProgramOptions& options, const Pipe& out,
                   const Pipe& err, PROCESS_INFORMATION& process) {
  const auto& program = arguments[0];
  RS_TRY(auto line, wide_text(windows_command_line(arguments)));
  RS_TRY(auto environment, environment_with(options.environment));
  SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
  const Handle nothing(::CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                                     OPEN_EXISTING, 0, nullptr));
  InheritedHandles handles({nothing.get(), out.inherited(), err.inherited()});
  if (nothing.get() == nullptr || !handles.make()) return launch_error(program, "nothing for it to read");
  STARTUPINFOEXW startup{};
  startup.StartupInfo.cb = sizeof startup;
  startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
  startup.StartupInfo.hStdInput = nothing.get();
  startup.StartupInfo.hStdOutput = out.inherited();
  startup.StartupInfo.hStdError = err.inherited();
  startup.lpAttributeList = handles.list();
  constexpr DWORD kFlags =
      CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
  // A path is the program's and nothing else's, whatever blanks it has.
  std::wstring path;
  if (program.find_first_of("/\\") != std::string::npos) {
    RS_TRY(path, wide_text(program));
    std::replace(path.begin(), path.end(), L'/', L'\\');
  }
  if (::CreateProcessW(path.empty() ? nullptr : path.c_str(), line.data(), nullptr, nullptr, TRUE, kFlags,
                       environment.data(), nullptr, &startup.StartupInfo, &process) == 0)
    return launch_error(program, "cannot be started");
  return {};
}

// False: it took too long.
bool wait_for(HANDLE process, const ProgramOptions& options, Pipe& out, Pipe& err, ProgramOutput& output) {
  const auto begin = Clock::now();
  for (;;) {
    const bool over = ::WaitForSingleObject(process, kLook_ms) != WAIT_TIMEOUT;
    out.take(output.out, options.most_output_bytes);
    err.take(output.err, options.most_output_bytes);
    if (over) return true;
    if (options.within && Clock::now() - begin >= *options.within) return false;
  }
}

}  // namespace

Result<ProgramOutput> run_program(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  if (arguments.empty()) return fail(ErrorCode::invalid_argument, "no program to run");
  if (is_batch_file(arguments[0])) RS_CHECK(check_batch_arguments(arguments));
  if (is_host_program(arguments[0])) return run_host_program(arguments, options);
  const auto& program = arguments[0];
  Pipe out, err;
  RS_CHECK(out.open(program));
  RS_CHECK(err.open(program));
  // All that it starts is ended with it, and with this process. Without a bound it may leave what it likes.
  const Handle job(options.within ? ::CreateJobObjectW(nullptr, nullptr) : nullptr);
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
  if (options.within &&
      (job.get() == nullptr ||
       ::SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits, sizeof limits) == 0))
    return launch_error(program, "no job object for it");
  PROCESS_INFORMATION started{};
  RS_CHECK(start(arguments, options, out, err, started));
  const Handle process(started.hProcess), thread(started.hThread);
  if (options.within && ::AssignProcessToJobObject(job.get(), process.get()) == 0) {
    auto error = launch_error(program, "cannot be put into its job object");
    ::TerminateProcess(process.get(), 1);
    return error;
  }
  ::ResumeThread(thread.get());
  out.close_inherited();
  err.close_inherited();
  ProgramOutput output;
  if (!wait_for(process.get(), options, out, err, output)) {
    ::TerminateJobObject(job.get(), 1);
    return fail(
        ErrorCode::timeout,
        program + ": took longer than " +
            std::to_string(std::chrono::duration_cast<std::chrono::seconds>(*options.within).count()) +
            " s, and was ended");
  }
  DWORD exit = 0;
  if (::GetExitCodeProcess(process.get(), &exit) == 0) return launch_error(program, "no exit code");
  output.status = static_cast<int>(exit);
  if (options.within) {  // what it left running on purpose goes on
    limits.BasicLimitInformation.LimitFlags = 0;
    ::SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits, sizeof limits);
  }
  return output;
}

}  // namespace roamstead::os
