#include "coordinator/server/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "common/base/event.h"

namespace roamstead::server::service_manager {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};

// One assignment on each line; a line's end inside a status would begin another.
std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

// A manager that does not read must not stop the service: sd_notify(3) would wait for it for ever, so this is
// its protocol by hand, with a limit. False when it was not told.
bool notify(const std::string& state, std::chrono::milliseconds patience = kPatience) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || *path == '\0' || std::strlen(path) >= sizeof address.sun_path) return true;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return false;
  timeval limit{patience.count() / 1000, static_cast<suseconds_t>(patience.count() % 1000) * 1000};
  ::setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  auto sent = ::sendto(descriptor, state.data(), state.size(),
                       MSG_NOSIGNAL | (patience.count() == 0 ? MSG_DONTWAIT : 0),
                       reinterpret_cast<const sockaddr*>(&address), length);
  ::close(descriptor);
  return sent >= 0;
}

void notify_or_warn(const std::string& state) {
  if (!notify(state)) log_event(Event::service_manager_deaf, "cannot tell the service manager '{}'", state);
}

// systemd orders a reload's messages by the clock that all processes share.
std::string monotonic_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
}

}  // namespace

void ready(const std::string& status) { notify_or_warn("READY=1\nSTATUS=" + one_line(status)); }
void reloading() { notify_or_warn("RELOADING=1\nMONOTONIC_USEC=" + monotonic_usec()); }
void stopping(const std::string& status) { notify_or_warn("STOPPING=1\nSTATUS=" + one_line(status)); }
void status(const std::string& text) { notify_or_warn("STATUS=" + one_line(text)); }
void alive() { notify("WATCHDOG=1", std::chrono::milliseconds(0)); }
void extend_start_timeout(std::chrono::seconds more) {
  notify_or_warn("EXTEND_TIMEOUT_USEC=" + std::to_string(more.count() * 1'000'000));
}

std::chrono::milliseconds watchdog_interval() {
  std::uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) return std::chrono::milliseconds(0);
  return std::max(std::chrono::milliseconds(1), std::chrono::milliseconds(microseconds / 2000));
}

Result<int> take_listener() {
  int count = ::sd_listen_fds(1);
  if (count < 0)
    return fail(
        ErrorCode::invalid_argument,
        std::string("the sockets that LISTEN_FDS announces cannot be taken: ") + std::strerror(-count));
  if (count == 0) return -1;
  if (count > 1)
    return fail(ErrorCode::invalid_argument, std::to_string(count) +
                                                 " sockets were passed where one is expected; give the "
                                                 "socket unit one ListenStream=");
  constexpr int kFirst = SD_LISTEN_FDS_START;
  if (::sd_is_socket_inet(kFirst, AF_UNSPEC, SOCK_STREAM, 1, 0) <= 0)
    return fail(ErrorCode::invalid_argument,
                "the socket that was passed is no listening TCP socket; give the socket unit ListenStream= "
                "with address and port");
  return kFirst;
}

bool logs_to_journal() {
  // "device:inode" of the journal's stream; something may have redirected standard error since.
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == stream;
}

void log(LogLevel level, const std::string& message) {
  constexpr int kPriorities[] = {7, 6, 4, 3};  // debug, info, warning, err: sd-daemon(3)
  const auto priority = kPriorities[static_cast<int>(level)];
  const auto event = event_in(message);
  if (!event.empty()) {
    const std::string fields[] = {"MESSAGE=" + message, "PRIORITY=" + std::to_string(priority),
                                  "SYSLOG_IDENTIFIER=roamstead-coordinator",
                                  "ROAMSTEAD_EVENT=" + std::string(event)};
    std::vector<iovec> parts;
    for (const auto& field : fields)
      parts.push_back({const_cast<char*>(field.data()), field.size()});  // only read
    if (::sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) >= 0) return;
  }
  // The journal takes a message's weight from "<4>" before it.
  std::fprintf(stderr, "<%d>%s\n", priority, message.c_str());
}

}  // namespace roamstead::server::service_manager
