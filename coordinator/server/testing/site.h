// A repository on disk with what a coordinator needs, and roamstead-coordinator as a process of its own.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/wire/tls_link.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/coordinator.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::server {

// A repository with profile "alice" assigned to the enrolled desktops desk-a and desk-b.
struct Site {
  support::TemporaryDirectory folder;
  std::map<std::string, wire::TlsLinkOptions> identities;

  Site() {
    auto& files = os::real_file_system();
    std::filesystem::create_directories(folder / "source/Documents");
    std::ofstream(folder / "source/a.txt") << "first";
    std::ofstream(folder / "source/Documents/b.txt") << std::string(200'000, 'b');
    REQUIRE(repository::Repository::init(files, {folder / "repo", folder / "state", false}));
    auto coordinator = start();
    REQUIRE(coordinator->execute(
        {{"command", "profile.import"}, {"profile", "alice"}, {"source", folder / "source"}}, {}));
    for (const char* name : {"desk-a", "desk-b"}) {
      auto issued = coordinator->execute({{"command", "desktop.enroll"}, {"desktop", name}}, {}).value();
      auto& identity = identities[name];
      identity.key_pem = issued["key_pem"];
      identity.certificate_pem = issued["certificate_pem"];
      identity.ca_pem = issued["ca_pem"];
      REQUIRE(
          coordinator->execute({{"command", "assignment.add"}, {"desktop", name}, {"profile", "alice"}}, {}));
    }
  }
  std::unique_ptr<Coordinator> start(std::chrono::seconds lease = std::chrono::seconds(30),
                                     Faults faults = {}, SessionPolicy policy = SessionPolicy::takeover) {
    CoordinatorOptions options{folder / "repo", folder / "state", {}, {}};
    options.server.listen = "127.0.0.1:0";
    options.sessions.lease = lease;
    auto coordinator = Coordinator::start(options, std::move(faults));
    if (!coordinator) throw std::runtime_error(coordinator.error().to_string());
    REQUIRE((*coordinator)
                ->execute({{"command", "desktop-pool.set"},
                           {"pool", kDefaultPool},
                           {"session_policy", to_string(policy)}},
                          {}));
    return std::move(*coordinator);
  }
  std::unique_ptr<wire::TlsLink> link(const std::string& desktop, const std::string& address) {
    auto options = identities.at(desktop);
    options.address = address;
    return wire::TlsLink::create(options).value();
  }
  std::vector<repository::VersionInfo> versions() {
    auto repository =
        repository::Repository::open(os::real_file_system(), {folder / "repo", folder / "state", true})
            .value();
    return repository->versions(repository->find_profile("alice")->id).value();
  }
};

struct ProcessOptions {
  std::vector<std::string> arguments;              // all of them
  std::map<std::string, std::string> environment;  // set besides the test's own
  int listener = -1;                               // passed as systemd passes a socket
  bool wait_until_ready = true;
};

// roamstead-coordinator as a process of its own.
class Process {
 public:
  explicit Process(const ProcessOptions& options) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    std::vector<std::string> words{ROAMSTEAD_COORDINATOR};
    words.insert(words.end(), options.arguments.begin(), options.arguments.end());
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      int null = ::open("/dev/null", O_WRONLY);
      if (::getenv("ROAMSTEAD_TEST_LOG") == nullptr) ::dup2(null, STDERR_FILENO);
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
    char c = 0;
    while (::read(output_, &c, 1) == 1 && c != '\n') ready_ += c;
    REQUIRE(ready_.rfind("ready ", 0) == 0);
  }
  Process(const Site& site, const std::string& listen, const std::string& fault)
      : Process({{"--repo", site.folder / "repo", "--state", site.folder / "state", "--listen", listen},
                 {{"ROAMSTEAD_FAULT", fault}}}) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    ::close(output_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  std::string address() const { return ready_.substr(6); }
  pid_t pid() const { return pid_; }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int terminate() {
    REQUIRE(pid_ > 0);
    ::kill(pid_, SIGTERM);
    return wait();
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  std::string ready_;
};

}  // namespace roamstead::server
