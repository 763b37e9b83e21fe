#include "common/os/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace roamstead::os {
namespace {

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) ends_ = {-1, -1};
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool is_open() const { return ends_[0] >= 0; }
  int end(std::size_t which) const { return ends_[which]; }
  void close_end(std::size_t which) {
    if (ends_[which] >= 0) ::close(ends_[which]);
    ends_[which] = -1;
  }

 private:
  std::array<int, 2> ends_{};
};

// Takes in what there is; false at the end.
bool take(int descriptor, std::string& text, std::size_t limit) {
  std::array<char, 16384> buffer{};
  const auto count = ::read(descriptor, buffer.data(), buffer.size());
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  if (count > 0 && text.size() < limit)
    text.append(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(count), limit - text.size()));
  return count > 0;
}

// The environment of this process with some of it replaced.
std::vector<std::string> environment_with(const std::vector<std::string>& replaced) {
  std::vector<std::string> all = replaced;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string entry = *each;
    const auto name = entry.substr(0, entry.find('=') + 1);
    if (std::none_of(replaced.begin(), replaced.end(),
                     [&](const std::string& other) { return other.rfind(name, 0) == 0; }))
      all.push_back(entry);
  }
  return all;
}

std::vector<char*> raw_list(const std::vector<std::string>& texts) {
  std::vector<char*> raw;
  for (const auto& each : texts) raw.push_back(const_cast<char*>(each.c_str()));
  raw.push_back(nullptr);
  return raw;
}

// A child with its output in two pipes, and in a process group of its own when `apart`.
struct Child {
  pid_t process = 0;
  Pipe out, err;

  Result<void> start(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                     bool apart) {
    if (!out.is_open() || !err.is_open())
      return fail(ErrorCode::io, "no pipe for " + arguments[0] + ": " + std::strerror(errno));
    const auto raw = raw_list(arguments), variables = raw_list(environment);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out.end(1), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.end(1), STDERR_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, apart ? POSIX_SPAWN_SETPGROUP : 0);
    const int failed = ::posix_spawnp(&process, raw[0], &actions, &attributes, raw.data(), variables.data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT) return fail(ErrorCode::unavailable, arguments[0] + ": is not installed");
    if (failed != 0)
      return fail(ErrorCode::io, arguments[0] + ": cannot be started: " + std::strerror(failed));
    out.close_end(1);
    err.close_end(1);
    return {};
  }
  int wait() const {
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
};

}  // namespace

Result<ProgramOutput> run_program(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  if (arguments.empty()) return fail(ErrorCode::invalid_argument, "no program to run");
  using Clock = std::chrono::steady_clock;
  constexpr auto kLook = std::chrono::milliseconds(20);  // how soon its end is seen
  const auto start = Clock::now();
  Child child;
  RS_CHECK(child.start(arguments, environment_with(options.environment), options.within.has_value()));
  ProgramOutput output;
  const auto take_all = [&](Pipe& pipe, std::string& text) {
    if (pipe.end(0) >= 0 && !take(pipe.end(0), text, options.most_output_bytes)) pipe.close_end(0);
  };
  bool late = false;
  for (;;) {
    // Its end is looked for first: what it wrote before is in the pipes then.
    siginfo_t ended{};
    const bool over =
        ::waitid(P_PID, static_cast<id_t>(child.process), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        ended.si_pid == child.process;
    std::array<pollfd, 2> waiting{{{child.out.end(0), POLLIN, 0}, {child.err.end(0), POLLIN, 0}}};
    const auto ready = ::poll(waiting.data(), waiting.size(), over ? 0 : static_cast<int>(kLook.count()));
    if (ready > 0) {
      if (waiting[0].revents != 0) take_all(child.out, output.out);
      if (waiting[1].revents != 0) take_all(child.err, output.err);
    }
    if (over && ready <= 0) break;
    if (over && child.out.end(0) < 0 && child.err.end(0) < 0) break;
    if (!options.within || Clock::now() - start < *options.within) continue;
    late = !over;
    break;
  }
  if (late) ::kill(-child.process, SIGKILL);
  output.status = child.wait();
  if (!late) return output;
  return fail(ErrorCode::timeout,
              arguments[0] + ": took longer than " +
                  std::to_string(std::chrono::duration_cast<std::chrono::seconds>(*options.within).count()) +
                  " s, and was ended");
}

}  // namespace roamstead::os
