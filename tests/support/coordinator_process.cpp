#include "tests/support/coordinator_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace roamstead::support {

CoordinatorProcess::CoordinatorProcess(const std::string& program, const CoordinatorProcessOptions& options) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  auto words = options.arguments;
  words.insert(words.begin(), program);
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("no process");
  if (pid_ == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    if (!options.log.empty())
      ::dup2(::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
    else if (::getenv("ROAMSTEAD_TEST_LOG") == nullptr)
      ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
    for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
    if (options.listener >= 0) {
      ::dup2(options.listener, 3);  // does not close on exec
      ::setenv("LISTEN_FDS", "1", 1);
      ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    }
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  output_ = ends[0];
  if (!options.wait_until_ready) return;
  const std::string kReady = "ready ";
  std::string line;
  for (char c = 0; ::read(output_, &c, 1) == 1 && c != '\n';) line += c;
  if (line.rfind(kReady, 0) == 0) address_ = line.substr(kReady.size());
}

CoordinatorProcess::~CoordinatorProcess() {
  ::close(output_);
  kill();
}

void CoordinatorProcess::keep_status(int status) {
  pid_ = -1;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool CoordinatorProcess::has_ended() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) keep_status(status);
  return pid_ <= 0;
}

int CoordinatorProcess::wait() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, 0) == pid_) keep_status(status);
  return status_;
}

int CoordinatorProcess::terminate() {
  if (pid_ > 0) ::kill(pid_, SIGTERM);
  return wait();
}

int CoordinatorProcess::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
  return wait();
}

}  // namespace roamstead::support
