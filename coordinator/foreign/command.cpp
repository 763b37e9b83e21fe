#include "coordinator/foreign/command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace roamstead::foreign {
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
bool take(int descriptor, std::string& text) {
  std::array<char, 16384> buffer{};
  const auto count = ::read(descriptor, buffer.data(), buffer.size());
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  if (count > 0 && text.size() < kMaxOutputBytes)
    text.append(buffer.data(),
                std::min<std::size_t>(static_cast<std::size_t>(count), kMaxOutputBytes - text.size()));
  return count > 0;
}

}  // namespace

Result<CommandOutput> run_command(const std::vector<std::string>& arguments) {
  Pipe out, err;
  if (!out.is_open() || !err.is_open())
    return fail(ErrorCode::io, "no pipe for " + arguments[0] + ": " + std::strerror(errno));
  std::vector<char*> raw;
  for (const auto& each : arguments) raw.push_back(const_cast<char*>(each.c_str()));
  raw.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.end(1), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.end(1), STDERR_FILENO);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, raw[0], &actions, nullptr, raw.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT) return fail(ErrorCode::unavailable, arguments[0] + ": is not installed");
  if (failed != 0) return fail(ErrorCode::io, arguments[0] + ": cannot be started: " + std::strerror(failed));
  out.close_end(1);
  err.close_end(1);
  CommandOutput output;
  while (out.is_open() || err.end(0) >= 0) {
    std::array<pollfd, 2> waiting{{{out.end(0), POLLIN, 0}, {err.end(0), POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) break;
    if (waiting[0].revents != 0 && !take(out.end(0), output.out)) out.close_end(0);
    if (waiting[1].revents != 0 && !take(err.end(0), output.err)) err.close_end(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

}  // namespace roamstead::foreign
