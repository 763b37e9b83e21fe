// Frames over one TLS connection. Lives on one io_context thread: every member is called there, except the
// counters.
//
// Limits: a frame that has begun to arrive, and bytes that wait to leave, must make progress within the stall
// timeout, or the connection is closed; so is an idle one after the idle timeout, where there is one.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "common/wire/frame.h"

namespace roamstead::wire {

class Channel : public std::enable_shared_from_this<Channel> {
 public:
  using Clock = std::chrono::steady_clock;
  using Stream = asio::ssl::stream<asio::ip::tcp::socket>;
  struct Timeouts {
    std::chrono::milliseconds handshake{10'000};
    std::chrono::milliseconds stall{30'000};
    std::chrono::milliseconds idle{0};  // 0: none
  };

  Channel(asio::ip::tcp::socket socket, asio::ssl::context& context, Timeouts timeouts);

  // As a server or client. ErrorCode::denied when a certificate is refused, timeout, unavailable.
  asio::awaitable<Result<void>> handshake(asio::ssl::stream_base::handshake_type role);
  // The next frame. ErrorCode::unavailable when the connection ended.
  asio::awaitable<Result<Frame>> read(std::size_t limit = kMaxPayloadBytes);
  // Queues an encoded frame.
  void send(Bytes frame);
  // Returns once fewer than `bytes` wait to be sent, or the channel is closed.
  asio::awaitable<void> drained(std::size_t bytes);

  // Of what was queued, so much waits to be sent; 0 once it is closed.
  std::size_t unsent() const { return closed_ ? 0 : queue_.size() + leaving_.size(); }

  void close();
  // After what is queued has left.
  void close_when_sent();
  bool closed() const { return closed_; }
  asio::any_io_executor executor() { return stream_.get_executor(); }
  SSL* ssl() { return stream_.native_handle(); }
  std::string remote() const { return remote_; }

  // As they went over the network, TLS included. From any thread.
  std::uint64_t bytes_sent() const { return bytes_sent_; }
  std::uint64_t bytes_received() const { return bytes_received_; }

 private:
  void write_next();
  void expect_by(Clock::time_point& deadline, Clock::time_point at);
  void watch(Clock::time_point until);
  void count_bytes();
  Error closed_because(const asio::error_code& error) const;

  Stream stream_;
  Timeouts timeouts_;
  std::string remote_;
  asio::steady_timer watchdog_;
  Clock::time_point watching_until_ = Clock::time_point::max();  // where watchdog_ is set to
  asio::steady_timer sent_;                                      // a condition: cancelled to wake drained()
  Clock::time_point read_deadline_ = Clock::time_point::max();
  Clock::time_point write_deadline_ = Clock::time_point::max();
  Bytes queue_;
  Bytes leaving_;
  bool closed_ = false;
  bool close_when_sent_ = false;
  bool timed_out_ = false;
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> bytes_received_{0};
};

}  // namespace roamstead::wire
