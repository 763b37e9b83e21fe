// The client's side of the connection: an io thread that connects when a caller needs it, hands replies to
// the callers that wait for them, and tells them when the connection is lost.
#pragma once

#include <asio/io_context.hpp>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "common/wire/channel.h"
#include "common/wire/message.h"
#include "common/wire/tls_link.h"

namespace roamstead::wire {

// One request under way on one connection. The caller's thread waits on it.
struct Call {
  std::uint64_t id = 0;
  std::shared_ptr<Channel> channel;  // shared with the connection's coroutines
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  std::optional<Frame> reply;
  std::optional<Error> lost;       // the connection went before a reply came
  std::uint64_t credit_bytes = 0;  // granted so far
};

class ClientConnection {
 public:
  using Clock = std::chrono::steady_clock;
  ClientConnection(const TlsLinkOptions& options, std::string host, std::string port,
                   std::unique_ptr<asio::ssl::context> context);
  // Cancels the calls, and waits until those who made them are gone.
  ~ClientConnection();

  // As long as it lives the connection does.
  class Caller {
   public:
    explicit Caller(ClientConnection& connection);
    ~Caller();
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

   private:
    ClientConnection& connection_;
  };
  // Registers a call on the present connection; waits for one until the deadline.
  Result<std::shared_ptr<Call>> begin(Clock::time_point deadline);
  void send(const Call& call, Bytes frame);
  void end(const Call& call);
  // The peer may be gone without a word: closes the call's connection unless something was heard lately.
  void suspect(const Call& call);

  void set_push_listener(std::function<void(const Push&)> listener);
  // For connections made from now on.
  void use_context(std::unique_ptr<asio::ssl::context> context);

  std::uint64_t bytes_sent() const;
  std::uint64_t bytes_received() const;

 private:
  asio::awaitable<void> run();
  asio::awaitable<Result<std::shared_ptr<Channel>>> connect();
  asio::awaitable<Result<void>> greet(std::shared_ptr<Channel> channel);
  asio::awaitable<Error> read_replies(std::shared_ptr<Channel> channel);
  void deliver(Frame frame);
  void hear(Frame frame);
  void lose(const Error& error);

  const TlsLinkOptions options_;
  const std::string host_;
  const std::string port_;
  std::shared_ptr<asio::ssl::context> context_;  // of the io thread; shared with a post that replaces it
  asio::io_context io_{1};
  asio::steady_timer wanted_signal_{io_};  // a condition: cancelled to wake run()

  std::mutex listener_mutex_;  // held while the listener is called; taken with no other
  std::function<void(const Push&)> listener_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Channel> channel_;  // null while there is none
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;
  std::uint64_t next_id_ = 1;
  std::uint64_t failed_attempts_ = 0;
  Error last_error_{ErrorCode::unavailable, "not connected yet"};
  bool wanted_ = false;
  bool stopping_ = false;
  std::size_t callers_ = 0;
  Clock::time_point last_heard_;
  std::uint64_t earlier_sent_ = 0;  // by connections that are gone
  std::uint64_t earlier_received_ = 0;

  std::thread thread_;
};

}  // namespace roamstead::wire
