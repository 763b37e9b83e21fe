#include "coordinator/server/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "common/base/log.h"

namespace roamstead::server::service_manager {
namespace {

// One assignment on each line; a line's end inside a status would begin another.
std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

void notify(const std::string& state) {
  if (::sd_notify(0, state.c_str()) < 0) log_warning("cannot tell the service manager '{}'", state);
}

// systemd orders a reload's messages by the clock that all processes share.
std::string monotonic_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
}

}  // namespace

void ready(const std::string& status) { notify("READY=1\nSTATUS=" + one_line(status)); }
void reloading() { notify("RELOADING=1\nMONOTONIC_USEC=" + monotonic_usec()); }
void stopping(const std::string& status) { notify("STOPPING=1\nSTATUS=" + one_line(status)); }
void status(const std::string& text) { notify("STATUS=" + one_line(text)); }
void alive() { notify("WATCHDOG=1"); }
void extend_start_timeout(std::chrono::seconds more) {
  notify("EXTEND_TIMEOUT_USEC=" + std::to_string(more.count() * 1'000'000));
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

}  // namespace roamstead::server::service_manager
