// Programs of the host, run from within Wine: the test environment's freezing command is a script of Linux.
//
// Wine's CreateProcess runs what is no Windows program as a program of the host, whose end nobody can wait
// for, and whose standard output can be a file but no pipe. So a shell of the host is started that runs the
// command with `timeout`, its output in files of a temporary folder, and writes the status to a last one.
#include <windows.h>

#include <array>

#include "common/base/guid.h"
#include "common/base/text.h"
#include "common/os/file.h"
#include "common/os/win/program_win.h"

namespace roamstead::os {
namespace {

using Clock = std::chrono::steady_clock;
using UnixName = char*(__cdecl*)(const wchar_t*);

constexpr const char* kShell = "Z:\\bin\\sh";
// $1: the folder, $2: seconds, then the command. The status is whole when its line has an end.
constexpr const char* kScript =
    "d=$1; t=$2; shift 2; timeout -s KILL \"$t\" \"$@\" >\"$d/out\" 2>\"$d/err\" </dev/null; "
    "echo $? >\"$d/ended\"";
constexpr auto kLook = std::chrono::milliseconds(1);
constexpr auto kGrace = std::chrono::seconds(5);  // for `timeout` and the shell themselves
constexpr int kKilled = 137;

// Nothing on Windows.
UnixName unix_name() {
  auto* const kernel = ::GetModuleHandleW(L"kernel32.dll");
  return kernel == nullptr ? nullptr
                           : reinterpret_cast<UnixName>(reinterpret_cast<void*>(
                                 ::GetProcAddress(kernel, "wine_get_unix_file_name")));
}

Result<std::string> host_path(const std::string& path) {
  RS_TRY(auto units, to_utf16(path));
  const std::wstring name(units.begin(), units.end());
  auto* const text = unix_name()(name.c_str());
  if (text == nullptr) return fail(ErrorCode::not_found, path + ": has no name on the host");
  std::string found = text;
  ::HeapFree(::GetProcessHeap(), 0, text);
  return found;
}

Result<void> start_shell(const std::vector<std::string>& arguments) {
  RS_TRY(const auto units, to_utf16(windows_command_line(arguments)));
  std::wstring line(units.begin(), units.end());
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION process{};
  if (::CreateProcessW(L"Z:\\bin\\sh", line.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr, &startup,
                       &process) == 0)
    return fail(ErrorCode::unavailable,
                "the host's shell cannot be started: Windows error " + std::to_string(::GetLastError()));
  if (process.hProcess != nullptr) ::CloseHandle(process.hProcess);
  if (process.hThread != nullptr) ::CloseHandle(process.hThread);
  return {};
}

// A folder that goes with this object.
class Folder {
 public:
  Result<void> make() {
    std::array<wchar_t, MAX_PATH + 1> base{};
    const auto length = ::GetTempPathW(static_cast<DWORD>(base.size()), base.data());
    if (length == 0 || length > base.size()) return fail(ErrorCode::io, "no folder for temporary files");
    path_ = to_wtf8(std::u16string(base.data(), base.data() + length)) + "roamstead-" +
            Guid::random().to_string();
    return real_file_system().make_directories(path_);
  }
  ~Folder() {
    if (path_.empty()) return;
    for (const char* name : {"/out", "/err", "/ended", ""})
      static_cast<void>(real_file_system().remove(path_ + name));
  }
  const std::string& path() const { return path_; }
  // As much of a file as is wanted.
  std::string text(const std::string& name, std::size_t limit) const {
    const auto file = real_file_system().open(path_ + "/" + name, OpenMode::read);
    if (!file) return "";
    const auto size = (*file)->size();
    std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(size ? *size : 0, limit)), '\0');
    const auto count = (*file)->read_at(0, std::as_writable_bytes(std::span(text)));
    text.resize(count ? *count : 0);
    return text;
  }

 private:
  std::string path_;
};

}  // namespace

bool is_host_program(const std::string& path) {
  if (unix_name() == nullptr || path.find_first_of("/\\") == std::string::npos) return false;
  const auto file = real_file_system().open(path, OpenMode::read);
  if (!file) return false;
  std::array<std::byte, 2> magic{};
  const auto count = (*file)->read_at(0, magic);
  const bool windows_program =
      count && *count == 2 && magic[0] == std::byte{'M'} && magic[1] == std::byte{'Z'};
  return !windows_program && !same_name(path.substr(path.find_last_of('.') + 1), "bat") &&
         !same_name(path.substr(path.find_last_of('.') + 1), "cmd");
}

Result<ProgramOutput> run_host_program(const std::vector<std::string>& arguments,
                                       const ProgramOptions& options) {
  Folder folder;
  RS_CHECK(folder.make());
  RS_TRY(const auto place, host_path(folder.path()));
  RS_TRY(const auto program, host_path(arguments[0]));
  const auto within = options.within.value_or(std::chrono::hours(24));
  const auto thousandths = std::to_string(1000 + within.count() % 1000).substr(1);
  const auto bound = std::to_string(within.count() / 1000) + "." + thousandths;
  std::vector<std::string> words{kShell, "-c", kScript, "sh", place, bound};
  if (!options.environment.empty()) {
    words.push_back("env");
    words.insert(words.end(), options.environment.begin(), options.environment.end());
  }
  words.push_back(program);
  words.insert(words.end(), arguments.begin() + 1, arguments.end());
  RS_CHECK(start_shell(words));
  const auto start = Clock::now();
  std::string ended;
  while (!ended.ends_with('\n') && Clock::now() - start < within + kGrace) {
    ::Sleep(static_cast<DWORD>(kLook.count()));
    ended = folder.text("ended", 16);
  }
  ProgramOutput output;
  output.status = !ended.ends_with('\n') ? kKilled : std::atoi(ended.c_str());
  output.out = folder.text("out", options.most_output_bytes);
  output.err = folder.text("err", options.most_output_bytes);
  if (output.status == kKilled && Clock::now() - start >= within)
    return fail(ErrorCode::timeout, arguments[0] + ": took longer than " +
                                        std::to_string(within.count() / 1000) + " s, and was ended");
  return output;
}

}  // namespace roamstead::os
