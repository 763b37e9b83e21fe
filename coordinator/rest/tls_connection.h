// One TLS connection over a socket, every step of which ends in time. Of one thread, but for cancel().
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace roamstead::rest {

class TlsConnection {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = Clock::time_point;

  // Takes the socket over. `context` is kept by OpenSSL for as long as it is needed.
  static Result<std::unique_ptr<TlsConnection>> create(SSL_CTX* context, int descriptor);
  ~TlsConnection();  // says good-bye where that does not wait
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  // As a server. ErrorCode::denied when the peer's certificate is missing or not the authority's.
  Result<void> handshake(Deadline deadline);
  SSL* ssl() const { return ssl_; }
  // At most `most` bytes, appended to `to`; 0: the peer has ended. ErrorCode::timeout after the deadline,
  // unavailable when the connection broke.
  Result<std::size_t> read(std::string& to, std::size_t most, Deadline deadline);
  Result<void> write(std::string_view text, Deadline deadline);
  // Whether the peer is still there, as far as that shows without waiting.
  bool is_open();
  // After the last write: takes what still comes, a little, so that the answer is not lost to a reset.
  void linger(Deadline deadline);

 private:
  TlsConnection(SSL* ssl, int descriptor) : ssl_(ssl), descriptor_(descriptor) {}
  // What OpenSSL wants before it goes on.
  Result<void> wait_after(int returned, Deadline deadline, const char* doing);

  SSL* ssl_;
  int descriptor_;
  bool broken_ = false;
};

}  // namespace roamstead::rest
