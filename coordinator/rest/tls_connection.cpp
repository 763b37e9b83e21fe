#include "coordinator/rest/tls_connection.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace roamstead::rest {
namespace {

constexpr std::size_t kMostLingeredBytes = 256u << 10;

bool wait_for(int descriptor, short events, TlsConnection::Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - TlsConnection::Clock::now());
    if (left.count() <= 0) return false;
    pollfd wanted{descriptor, events, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::min<long long>(left.count(), 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;  // the next call says what is wrong
  }
}

}  // namespace

Result<std::unique_ptr<TlsConnection>> TlsConnection::create(SSL_CTX* context, int descriptor) {
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL, 0) | O_NONBLOCK);
  SSL* ssl = SSL_new(context);
  std::unique_ptr<TlsConnection> connection(new TlsConnection(ssl, descriptor));
  if (ssl == nullptr || SSL_set_fd(ssl, descriptor) != 1) {
    ERR_clear_error();
    connection->broken_ = true;
    return fail(ErrorCode::internal, "TLS: cannot set up a connection");
  }
  return connection;
}

Result<void> TlsConnection::handshake(Deadline deadline) {
  for (;;) {
    ERR_clear_error();
    const int done = SSL_accept(ssl_);
    if (done == 1) return {};
    auto waited = wait_after(done, deadline, "TLS handshake");
    if (waited) continue;
    broken_ = true;
    return waited;
  }
}

TlsConnection::~TlsConnection() {
  if (ssl_ != nullptr && !broken_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);
  }
  SSL_free(ssl_);
  ERR_clear_error();
  ::close(descriptor_);
}

Result<void> TlsConnection::wait_after(int returned, Deadline deadline, const char* doing) {
  const int wanted = SSL_get_error(ssl_, returned);
  if (wanted == SSL_ERROR_WANT_READ || wanted == SSL_ERROR_WANT_WRITE) {
    if (wait_for(descriptor_, wanted == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline)) return {};
    return fail(ErrorCode::timeout, std::string(doing) + ": the peer is too slow");
  }
  broken_ = true;
  std::array<char, 256> text{};
  const auto code = ERR_peek_error();
  // Of what OpenSSL says about certificates only its own word counts, as the peer's address is all we know.
  const auto refused = SSL_get_verify_result(ssl_);
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  if (refused != X509_V_OK)
    return fail(ErrorCode::denied, std::string(doing) + ": " + X509_verify_cert_error_string(refused));
  if (code != 0 && ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
    return fail(ErrorCode::denied, std::string(doing) + ": the peer showed no certificate");
  return fail(ErrorCode::unavailable,
              std::string(doing) + ": " + (code != 0 ? text.data() : "the peer went away"));
}

Result<std::size_t> TlsConnection::read(std::string& to, std::size_t most, Deadline deadline) {
  std::array<char, 4096> buffer;
  for (;;) {
    ERR_clear_error();
    const int count = SSL_read(ssl_, buffer.data(), static_cast<int>(std::min(most, buffer.size())));
    if (count > 0) {
      to.append(buffer.data(), static_cast<std::size_t>(count));
      return static_cast<std::size_t>(count);
    }
    if (SSL_get_error(ssl_, count) == SSL_ERROR_ZERO_RETURN) return 0;
    RS_CHECK(wait_after(count, deadline, "reading a request"));
  }
}

Result<void> TlsConnection::write(std::string_view text, Deadline deadline) {
  constexpr std::size_t kMostAtOnce = 16u << 10;  // one TLS record
  while (!text.empty()) {
    ERR_clear_error();
    const auto part = std::min(text.size(), kMostAtOnce);
    const int count = SSL_write(ssl_, text.data(), static_cast<int>(part));
    if (count > 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    auto waited = wait_after(count, deadline, "writing an answer");
    if (waited) continue;
    broken_ = true;  // a record may be half written
    return waited;
  }
  return {};
}

bool TlsConnection::is_open() {
  if (broken_) return false;
  char byte = 0;
  ERR_clear_error();
  const int count = SSL_peek(ssl_, &byte, 1);
  if (count > 0) return true;
  const int wanted = SSL_get_error(ssl_, count);
  if (wanted == SSL_ERROR_WANT_READ || wanted == SSL_ERROR_WANT_WRITE) return true;
  broken_ = wanted != SSL_ERROR_ZERO_RETURN;
  ERR_clear_error();
  return false;
}

void TlsConnection::linger(Deadline deadline) {
  if (broken_) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ::shutdown(descriptor_, SHUT_WR);
  broken_ = true;  // nothing more is said
  ERR_clear_error();
  std::array<char, 4096> buffer;
  for (std::size_t taken = 0; taken < kMostLingeredBytes;) {
    const auto count = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
    if (count > 0) {
      taken += static_cast<std::size_t>(count);
      continue;
    }
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) return;
    if (!wait_for(descriptor_, POLLIN, deadline)) return;
  }
}

}  // namespace roamstead::rest
