#include "common/wire/channel.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>

#include <asio/buffer.hpp>
#include <asio/read.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

namespace roamstead::wire {
namespace {

bool is_certificate_refusal(const asio::error_code& error) {
  if (error.category() != asio::error::get_ssl_category()) return false;
  auto reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
  switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return true;
    default:
      return false;
  }
}

}  // namespace

Channel::Channel(asio::ip::tcp::socket socket, asio::ssl::context& context, Timeouts timeouts)
    : stream_(std::move(socket), context),
      timeouts_(timeouts),
      watchdog_(stream_.get_executor()),
      sent_(stream_.get_executor()) {
  asio::error_code error;
  auto endpoint = stream_.lowest_layer().remote_endpoint(error);
  remote_ = error ? "?" : endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
  stream_.lowest_layer().set_option(asio::ip::tcp::no_delay(true), error);
  stream_.lowest_layer().set_option(asio::socket_base::keep_alive(true), error);
  sent_.expires_at(Clock::time_point::max());
}

Error Channel::closed_because(const asio::error_code& error) const {
  if (timed_out_) return Error(ErrorCode::timeout, remote_ + ": no progress for too long");
  if (is_certificate_refusal(error))
    return Error(ErrorCode::denied, remote_ + ": certificate refused: " + error.message());
  return Error(ErrorCode::unavailable, remote_ + ": connection lost: " + error.message());
}

asio::awaitable<Result<void>> Channel::handshake(asio::ssl::stream_base::handshake_type role) {
  auto self = shared_from_this();
  expect_by(read_deadline_, Clock::now() + timeouts_.handshake);
  asio::error_code error;
  co_await stream_.async_handshake(role, asio::redirect_error(asio::use_awaitable, error));
  count_bytes();
  read_deadline_ = Clock::time_point::max();
  if (error) {
    auto reason = closed_because(error);
    close();
    co_return fail(std::move(reason));
  }
  co_return Result<void>{};
}

asio::awaitable<Result<Frame>> Channel::read(std::size_t limit) {
  auto self = shared_from_this();
  std::array<std::byte, kFrameHeaderBytes> header;
  asio::error_code error;
  expect_by(read_deadline_,
            timeouts_.idle.count() != 0 ? Clock::now() + timeouts_.idle : Clock::time_point::max());
  auto first = co_await stream_.async_read_some(asio::buffer(header.data(), header.size()),
                                                asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return fail(closed_because(error));
  expect_by(read_deadline_, Clock::now() + timeouts_.stall);
  if (first < header.size()) {
    co_await asio::async_read(stream_, asio::buffer(header.data() + first, header.size() - first),
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(closed_because(error));
  }
  auto parsed = parse_frame_header(header, limit);
  if (!parsed) co_return fail(std::move(parsed).error().with(remote_));
  Frame frame{parsed->type, parsed->compressed, parsed->request, Bytes(parsed->payload_bytes)};
  if (!frame.payload.empty()) {
    co_await asio::async_read(stream_, asio::buffer(frame.payload.data(), frame.payload.size()),
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(closed_because(error));
  }
  read_deadline_ = Clock::time_point::max();
  count_bytes();
  co_return frame;
}

void Channel::send(Bytes frame) {
  if (closed_) return;
  if (queue_.empty())
    queue_ = std::move(frame);
  else
    queue_.insert(queue_.end(), frame.begin(), frame.end());
  if (leaving_.empty()) write_next();
}

void Channel::write_next() {
  leaving_.clear();
  leaving_.swap(queue_);
  if (leaving_.empty()) {
    write_deadline_ = Clock::time_point::max();
    if (close_when_sent_) close();
    return;
  }
  // Asked before each part: megabytes may take a slow link long, as long as they move.
  auto next_part = [this](const asio::error_code& error, std::size_t) -> std::size_t {
    constexpr std::size_t kMostAtOnce = 64u << 10;
    expect_by(write_deadline_, Clock::now() + timeouts_.stall);
    return error ? 0 : kMostAtOnce;
  };
  asio::async_write(stream_, asio::buffer(leaving_.data(), leaving_.size()), next_part,
                    [self = shared_from_this()](const asio::error_code& error, std::size_t) {
                      self->count_bytes();
                      if (error) {
                        self->close();
                        return;
                      }
                      self->write_next();
                      self->sent_.cancel();
                    });
}

asio::awaitable<void> Channel::drained(std::size_t bytes) {
  auto self = shared_from_this();
  while (!closed_ && queue_.size() + leaving_.size() >= bytes) {
    asio::error_code ignored;
    co_await sent_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

void Channel::close() {
  if (closed_) return;
  closed_ = true;
  asio::error_code ignored;
  stream_.lowest_layer().shutdown(asio::socket_base::shutdown_both, ignored);
  stream_.lowest_layer().close(ignored);
  watchdog_.cancel();
  sent_.cancel();
}

void Channel::close_when_sent() {
  if (leaving_.empty() && queue_.empty())
    close();
  else
    close_when_sent_ = true;
}

// Deadlines are put off with every frame and seldom come: the timer stays where it is, and looks again when
// it fires. A connection on which nothing is due wakes nobody.
void Channel::expect_by(Clock::time_point& deadline, Clock::time_point at) {
  deadline = at;
  if (at < watching_until_) watch(at);
}

// The executor keeps the waiting handler; the channel itself is held weakly, so that it can go when nobody
// uses it.
void Channel::watch(Clock::time_point until) {
  if (closed_) return;
  watching_until_ = until;
  watchdog_.expires_at(until);
  watchdog_.async_wait([weak = weak_from_this()](const asio::error_code& error) {
    auto self = weak.lock();
    if (error || !self) return;
    self->watching_until_ = Clock::time_point::max();
    const auto next = std::min(self->read_deadline_, self->write_deadline_);
    if (Clock::now() >= next) {
      self->timed_out_ = true;
      self->close();
    } else if (next != Clock::time_point::max()) {
      self->watch(next);
    }
  });
}

void Channel::count_bytes() {
  auto* transport = SSL_get_wbio(stream_.native_handle());
  if (transport == nullptr) return;
  bytes_sent_ = BIO_number_written(transport);
  bytes_received_ = BIO_number_read(SSL_get_rbio(stream_.native_handle()));
}

}  // namespace roamstead::wire
