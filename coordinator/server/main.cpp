// roamstead-coordinator: serves desktops until it is told to end (SIGTERM, SIGINT). Logs to standard error,
// as systemd's journal takes it; a line "ready 127.0.0.1:7420" on standard output says that it listens.
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "common/base/log.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/coordinator.h"

namespace {

using namespace roamstead;

// systemd's readiness protocol: one datagram to the socket that it names.
void notify_systemd(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || *path == '\0' || std::strlen(path) >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  if (::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), length) < 0)
    log_warning("cannot tell systemd '{}'", state);
  ::close(descriptor);
}

constexpr std::chrono::seconds kLeastTimeBetweenRestarts{2};
constexpr std::chrono::seconds kRestartRetry{2};

// Ends the wait with a signal of the set, or 0 after the timeout.
int wait_for_signal(const sigset_t& set, std::chrono::seconds timeout) {
  timespec limit{timeout.count(), 0};
  return std::max(0, ::sigtimedwait(&set, nullptr, &limit));
}

Result<void> run(server::CoordinatorOptions options) {
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  // Blocked before threads start, so that only the waits below get them. SIGUSR1 is how a committing thread
  // reports that the storage failed.
  sigset_t signals;
  sigemptyset(&signals);
  for (int each : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto superseded = std::make_shared<std::atomic<bool>>(false);  // shared with the committing threads
  options.sessions.on_storage_failure = [superseded](const Error& error) {
    log_error("the repository cannot write: {}", error.to_string());
    if (error.code == ErrorCode::stale) *superseded = true;
    ::kill(::getpid(), SIGUSR1);
  };
  RS_TRY(auto faults, Faults::from_environment());
  RS_TRY(auto coordinator, server::Coordinator::start(options, faults));
  options.server.listen = coordinator->address();  // the same port after a restart
  log_info("listening on {}", coordinator->address());
  std::cout << "ready " << coordinator->address() << std::endl;
  notify_systemd("READY=1");
  // After a write that failed nobody knows what is on the disk: the repository is opened again, and finds
  // out. Sessions and desktops' links outlive that.
  auto last_start = std::chrono::steady_clock::now();
  for (;;) {
    int received = 0;
    if (coordinator) {
      ::sigwait(&signals, &received);
    } else {
      received = wait_for_signal(signals, kRestartRetry);
    }
    if (received == SIGTERM || received == SIGINT) break;
    // Taking it back would be a quarrel; going on would be to open versions that are not the latest.
    if (*superseded)
      return fail(ErrorCode::stale, "another program has taken over " + options.repository_directory +
                                        "; start this coordinator again if it is to have it back");
    auto early = last_start + kLeastTimeBetweenRestarts - std::chrono::steady_clock::now();
    if (coordinator && early.count() > 0) {
      received = wait_for_signal(signals, std::chrono::ceil<std::chrono::seconds>(early));
      if (received == SIGTERM || received == SIGINT) break;
    }
    coordinator.reset();
    auto again = server::Coordinator::start(options, faults);
    last_start = std::chrono::steady_clock::now();
    if (again) {
      coordinator = std::move(*again);
      log_info("the repository is open again");
    } else {
      log_error("cannot open the repository again: {}", again.error().to_string());
    }
  }
  log_info("ending");
  notify_systemd("STOPPING=1");
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Keeps users' profiles and serves them to desktops", "roamstead-coordinator"};
  app.set_version_flag("--version", ROAMSTEAD_VERSION);
  server::CoordinatorOptions options;
  bool foreground = true;
  long lease_seconds = 30;
  app.add_option("--repo", options.repository_directory, "The repository's directory")
      ->envname("ROAMSTEAD_REPO")
      ->required();
  app.add_option("--state", options.state_directory,
                 "The local state directory (default: state in the repository's)");
  app.add_option("--listen", options.server.listen, "Address and port to listen on; port 0: any")
      ->default_val(server::kDefaultListen);
  app.add_option("--name", options.server.names, "Further DNS names or addresses for the certificate");
  app.add_option("--lease", lease_seconds,
                 "Seconds after which a silent desktop's profile may be opened elsewhere")
      ->check(CLI::Range(5L, 3600L))
      ->default_val(lease_seconds);
  app.add_flag("--foreground", foreground, "Stay in the foreground (it always does)");
  CLI11_PARSE(app, argc, argv);
  if (options.state_directory.empty())
    options.state_directory = os::join_path(options.repository_directory, "state");
  options.sessions.lease = std::chrono::seconds(lease_seconds);
  auto result = run(options);
  if (result) return 0;
  std::cerr << "roamstead-coordinator: " << result.error().to_string() << '\n';
  return 1;
}
