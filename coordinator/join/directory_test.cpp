// Directory against servers that are none. What real ones do is in domain_test.cpp.
#include "coordinator/join/directory.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

using namespace roamstead;
using namespace roamstead::join;

// libldap loses the buffer of an answer that was cut off; under AddressSanitizer that is not ours to report.
extern "C" const char* __lsan_default_suppressions() { return "leak:liblber"; }

namespace {

// Listens on a loopback port. Says `answer` to whoever connects, then hangs up; says nothing and answers
// nobody when there is none.
class Stranger {
 public:
  explicit Stranger(std::string answer = "") : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port_ = ntohs(address.sin_port);
    if (!answer_.empty()) thread_ = std::thread([this] { serve(); });
  }
  ~Stranger() {
    ::shutdown(listener_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    ::close(listener_);
  }
  std::string url(const std::string& scheme) const {
    return scheme + "://127.0.0.1:" + std::to_string(port_);
  }

 private:
  void serve() {
    for (;;) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      char question[512];
      static_cast<void>(::recv(client, question, sizeof question, 0));
      static_cast<void>(::send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL));
      ::close(client);
    }
  }

  std::string answer_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

// Of a log-in that cannot be; the seconds it took.
std::pair<Error, double> refusal(const std::string& url, bool kerberos = false) {
  DirectoryOptions options;
  options.url = url;
  options.timeout = std::chrono::milliseconds(500);
  if (!kerberos) {
    options.bind_name = "CN=x";
    options.bind_password = to_secret(as_bytes("top secret"));
  }
  const auto start = std::chrono::steady_clock::now();
  const auto connected = Directory::connect(options);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  REQUIRE(!connected);
  const auto text = connected.error().to_string();
  CHECK(text.find("top secret") == std::string::npos);
  CHECK_MESSAGE(text.find(url) != std::string::npos, text);
  return {connected.error(), seconds};
}

}  // namespace

TEST_CASE("a controller that does not answer is given up in time") {
  const Stranger silent;
  for (const auto* scheme : {"ldap", "ldaps"}) {
    const auto [error, seconds] = refusal(silent.url(scheme));
    CHECK_MESSAGE(error.code == ErrorCode::timeout, error.to_string());
    CHECK(seconds < 3);
  }
}

TEST_CASE("what is no controller is refused, and never gets the password") {
  for (const std::string answer :
       {"HTTP/1.0 200 OK\r\n\r\n", "\x30\x84\xff\xff\xff\xff", "\x30\x03\x02\x01\x01"}) {
    const Stranger stranger(answer);
    for (const auto* scheme : {"ldap", "ldaps"}) {
      const auto [error, seconds] = refusal(stranger.url(scheme));
      CHECK(error.code != ErrorCode::internal);
      CHECK(seconds < 3);
    }
  }
}

TEST_CASE("addresses that cannot be are refused at once") {
  for (const auto* url : {"", "http://x", "dc1.corp.example.com", "ldap://:x:y"})
    CHECK_MESSAGE(!Directory::connect({url, "CN=x", to_secret(as_bytes("y")), "", {}}), url);
  CHECK(refusal("ldaps://dc1.example.com", true).first.code == ErrorCode::invalid_argument);
}
