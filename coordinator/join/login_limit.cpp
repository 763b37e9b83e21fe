#include "coordinator/join/login_limit.h"

#include <sys/socket.h>

namespace roamstead::join {
namespace {

thread_local LoginLimit* login_of_this_thread = nullptr;

}  // namespace

LoginLimit::LoginLimit(std::chrono::milliseconds limit)
    : watcher_([this, end = std::chrono::steady_clock::now() + limit] { watch(end); }) {
  login_of_this_thread = this;
}

LoginLimit::~LoginLimit() {
  login_of_this_thread = nullptr;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  done_changed_.notify_all();
  watcher_.join();
}

bool LoginLimit::expired() {
  const std::lock_guard lock(mutex_);
  return expired_;
}

ldap_conncb* LoginLimit::callbacks() {
  static ldap_conncb made{opened, closed, nullptr};
  return &made;
}

int LoginLimit::opened(LDAP* /*connection*/, Sockbuf* buffer, LDAPURLDesc* /*server*/, sockaddr* /*address*/,
                       ldap_conncb* /*context*/) {
  auto* const login = login_of_this_thread;
  if (login == nullptr) return LDAP_SUCCESS;
  int descriptor = -1;
  if (ber_sockbuf_ctrl(buffer, LBER_SB_OPT_GET_FD, &descriptor) != 1) return LDAP_SUCCESS;
  const std::lock_guard lock(login->mutex_);
  login->descriptor_ = descriptor;
  return login->expired_ ? LDAP_TIMEOUT : LDAP_SUCCESS;
}

void LoginLimit::closed(LDAP* /*connection*/, Sockbuf* /*buffer*/, ldap_conncb* /*context*/) {
  auto* const login = login_of_this_thread;
  if (login == nullptr) return;
  const std::lock_guard lock(login->mutex_);
  login->descriptor_ = -1;  // its number may be another's soon
}

void LoginLimit::watch(std::chrono::steady_clock::time_point end) {
  std::unique_lock lock(mutex_);
  if (done_changed_.wait_until(lock, end, [&] { return done_; })) return;
  expired_ = true;
  if (descriptor_ >= 0) ::shutdown(descriptor_, SHUT_RDWR);
}

}  // namespace roamstead::join
