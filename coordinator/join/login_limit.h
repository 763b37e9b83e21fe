// Bounds the time of logging in to a directory. libldap bounds connecting and answers, but its TLS handshake
// waits for as long as the other side likes.
#pragma once

#include <ldap.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace roamstead::join {

// While it lives, connections that this thread opens with `callbacks()` set are shut down when the time is
// up.
class LoginLimit {
 public:
  explicit LoginLimit(std::chrono::milliseconds limit);
  ~LoginLimit();
  LoginLimit(const LoginLimit&) = delete;
  LoginLimit& operator=(const LoginLimit&) = delete;

  bool expired();
  // For LDAP_OPT_CONNECT_CB; valid for ever.
  static ldap_conncb* callbacks();

 private:
  static int opened(LDAP* connection, Sockbuf* buffer, LDAPURLDesc* server, sockaddr* address,
                    ldap_conncb* context);
  static void closed(LDAP* connection, Sockbuf* buffer, ldap_conncb* context);
  void watch(std::chrono::steady_clock::time_point end);

  std::mutex mutex_;
  std::condition_variable done_changed_;
  bool done_ = false;
  bool expired_ = false;
  int descriptor_ = -1;
  std::thread watcher_;
};

}  // namespace roamstead::join
