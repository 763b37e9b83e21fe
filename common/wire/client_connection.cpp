#include "common/wire/client_connection.h"

#include <asio/co_spawn.hpp>
#include <asio/connect.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <random>

#include "common/base/log.h"
#include "common/base/thread_stack.h"

namespace roamstead::wire {
namespace {

constexpr std::chrono::seconds kSilenceOfTheDead{5};

// Refusals that trying again at once will not change.
bool is_final(ErrorCode code) {
  return code == ErrorCode::denied || code == ErrorCode::protocol || code == ErrorCode::invalid_argument;
}

}  // namespace

ClientConnection::ClientConnection(const TlsLinkOptions& options, std::string host, std::string port,
                                   std::unique_ptr<asio::ssl::context> context)
    : options_(options), host_(std::move(host)), port_(std::move(port)), context_(std::move(context)) {
  asio::co_spawn(io_, run(), asio::detached);
  thread_ = std::thread([this] {
    release_unused_stack();
    io_.run();
  });
}

ClientConnection::~ClientConnection() {
  {
    std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  lose(Error(ErrorCode::cancelled, "the link is being closed"));
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return callers_ == 0; });
  }
  asio::post(io_, [this] {
    if (channel_) channel_->close();
    io_.stop();
  });
  thread_.join();
}

ClientConnection::Caller::Caller(ClientConnection& connection) : connection_(connection) {
  std::lock_guard guard(connection_.mutex_);
  ++connection_.callers_;
}

ClientConnection::Caller::~Caller() {
  // Under the lock to the end: after it, there may be no connection.
  std::lock_guard guard(connection_.mutex_);
  if (--connection_.callers_ == 0) connection_.changed_.notify_all();
}

Result<std::shared_ptr<Call>> ClientConnection::begin(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  auto attempts_before = failed_attempts_;
  for (;;) {
    if (stopping_) return fail(ErrorCode::cancelled, "the link is being closed");
    if (channel_) break;
    if (failed_attempts_ != attempts_before && is_final(last_error_.code)) return fail(last_error_);
    if (!wanted_) {
      wanted_ = true;
      asio::post(io_, [this] { wanted_signal_.cancel(); });
    }
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && !channel_)
      return fail(
          Error(ErrorCode::unavailable, last_error_.to_string()).with("coordinator " + options_.address));
  }
  auto call = std::make_shared<Call>();
  call->id = next_id_++;
  call->channel = channel_;
  calls_[call->id] = call;
  return call;
}

void ClientConnection::send(const Call& call, Bytes frame) {
  asio::post(
      io_, [channel = call.channel, frame = std::move(frame)]() mutable { channel->send(std::move(frame)); });
}

void ClientConnection::end(const Call& call) {
  std::lock_guard guard(mutex_);
  calls_.erase(call.id);
}

void ClientConnection::suspect(const Call& call) {
  {
    std::lock_guard guard(mutex_);
    if (channel_ != call.channel || Clock::now() - last_heard_ < kSilenceOfTheDead) return;
  }
  asio::post(io_, [channel = call.channel] { channel->close(); });
}

// TLS keeps what a connection under way needs of the context before.
void ClientConnection::use_context(std::unique_ptr<asio::ssl::context> context) {
  asio::post(io_, [this, shared = std::shared_ptr<asio::ssl::context>(std::move(context))]() mutable {
    context_ = std::move(shared);
  });
}

std::uint64_t ClientConnection::bytes_sent() const {
  std::lock_guard guard(mutex_);
  return earlier_sent_ + (channel_ ? channel_->bytes_sent() : 0);
}

std::uint64_t ClientConnection::bytes_received() const {
  std::lock_guard guard(mutex_);
  return earlier_received_ + (channel_ ? channel_->bytes_received() : 0);
}

asio::awaitable<void> ClientConnection::run() {
  std::minstd_rand random(std::random_device{}());
  auto backoff = options_.first_backoff;
  asio::steady_timer pause(io_);
  asio::error_code ignored;
  for (;;) {
    for (;;) {
      {
        std::lock_guard guard(mutex_);
        if (wanted_) break;
        wanted_signal_.expires_at(Clock::time_point::max());
      }
      co_await wanted_signal_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    auto connected = co_await connect();
    if (connected) {
      backoff = options_.first_backoff;
      auto reason = co_await read_replies(*connected);
      lose(reason);
      continue;
    }
    {
      std::lock_guard guard(mutex_);
      last_error_ = std::move(connected).error();
      ++failed_attempts_;
      wanted_ = false;  // whoever still waits asks again
    }
    changed_.notify_all();
    // Up to a quarter more, so that a hundred desktops do not come back in one instant.
    pause.expires_after(backoff + backoff * static_cast<int>(random() % 100) / 400);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    backoff = std::min(backoff * 2, options_.last_backoff);
  }
}

asio::awaitable<Result<std::shared_ptr<Channel>>> ClientConnection::connect() {
  asio::ip::tcp::socket socket(io_);
  asio::ip::tcp::resolver resolver(io_);
  asio::error_code error;
  auto endpoints =
      co_await resolver.async_resolve(host_, port_, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return fail(ErrorCode::unavailable, "cannot resolve '" + host_ + "': " + error.message());
  asio::steady_timer timeout(io_, options_.connect_timeout);
  timeout.async_wait([&socket](const asio::error_code& cancelled) {
    asio::error_code close_error;
    if (!cancelled) socket.close(close_error);
  });
  co_await asio::async_connect(socket, endpoints, asio::redirect_error(asio::use_awaitable, error));
  // The handler refers to the socket: when it cannot be cancelled any more, it has not run yet, and waits its
  // turn.
  if (timeout.cancel() == 0) {
    asio::error_code ignored;
    co_await asio::post(io_, asio::redirect_error(asio::use_awaitable, ignored));
    co_return fail(ErrorCode::unavailable, "cannot connect to " + options_.address + " in time");
  }
  if (error)
    co_return fail(ErrorCode::unavailable, "cannot connect to " + options_.address + ": " + error.message());
  Channel::Timeouts timeouts;
  timeouts.handshake = options_.connect_timeout;
  auto channel = std::make_shared<Channel>(std::move(socket), *context_, timeouts);
  auto greeted = co_await greet(channel);
  std::lock_guard guard(mutex_);
  if (!greeted) {
    earlier_sent_ += channel->bytes_sent();
    earlier_received_ += channel->bytes_received();
    channel->close();
    co_return fail(std::move(greeted).error());
  }
  channel_ = channel;
  last_heard_ = Clock::now();
  changed_.notify_all();
  co_return channel;
}

asio::awaitable<Result<void>> ClientConnection::greet(std::shared_ptr<Channel> channel) {
  auto shaken = co_await channel->handshake(asio::ssl::stream_base::client);
  if (!shaken) co_return shaken;
  Hello hello;
  hello.software = options_.software;
  channel->send(encode_frame(FrameType::hello, 0, encode_message(hello)));
  auto frame = co_await channel->read();
  if (!frame) co_return fail(std::move(frame).error());
  if (frame->type == FrameType::failure) {
    auto failure = decode_message<Failure>(std::move(*frame), "refusal");
    if (!failure) co_return fail(std::move(failure).error());
    co_return fail(to_error(*failure));
  }
  if (frame->type != FrameType::hello_reply)
    co_return fail(ErrorCode::protocol, "no greeting from the coordinator");
  auto reply = decode_hello_reply(std::move(*frame));
  if (!reply) co_return fail(std::move(reply).error());
  if (reply->version != kProtocolVersion)
    co_return fail(ErrorCode::protocol,
                   "the coordinator speaks protocol version " + std::to_string(reply->version));
  if (reply->settings && options_.on_settings) options_.on_settings(*reply->settings);
  co_return Result<void>{};
}

asio::awaitable<Error> ClientConnection::read_replies(std::shared_ptr<Channel> channel) {
  for (;;) {
    auto frame = co_await channel->read();
    if (!frame) {
      channel->close();
      co_return std::move(frame).error();
    }
    if (frame->type == FrameType::push)
      hear(std::move(*frame));
    else
      deliver(std::move(*frame));
  }
}

void ClientConnection::set_push_listener(std::function<void(const Push&)> listener) {
  std::lock_guard guard(listener_mutex_);
  listener_ = std::move(listener);
}

void ClientConnection::hear(Frame frame) {
  {
    std::lock_guard guard(mutex_);
    last_heard_ = Clock::now();
  }
  auto push = decode_push(std::move(frame));
  if (!push) {
    log_warning("coordinator {}: {}", options_.address, push.error().to_string());
    return;
  }
  if (push->kind == PushKind::settings) {
    if (options_.on_settings) options_.on_settings(push->settings);
    return;
  }
  std::lock_guard guard(listener_mutex_);
  if (listener_) listener_(*push);
}

void ClientConnection::deliver(Frame frame) {
  std::shared_ptr<Call> call;
  {
    std::lock_guard guard(mutex_);
    last_heard_ = Clock::now();
    auto it = calls_.find(frame.request);
    if (it == calls_.end()) return;  // its caller gave up
    call = it->second;
  }
  std::lock_guard guard(call->mutex);
  if (frame.type == FrameType::credit) {
    auto credit = decode_message<Credit>(std::move(frame), "credit");
    if (credit) call->credit_bytes += credit->bytes;
  } else {
    call->reply = std::move(frame);
  }
  call->changed.notify_all();
}

void ClientConnection::lose(const Error& error) {
  std::map<std::uint64_t, std::shared_ptr<Call>> calls;
  {
    std::lock_guard guard(mutex_);
    if (channel_ && !stopping_) {
      earlier_sent_ += channel_->bytes_sent();
      earlier_received_ += channel_->bytes_received();
      channel_.reset();
    }
    last_error_ = error;
    wanted_ = false;
    calls.swap(calls_);
  }
  for (auto& [id, call] : calls) {
    std::lock_guard guard(call->mutex);
    call->lost = error;
    call->changed.notify_all();
  }
  changed_.notify_all();
}

}  // namespace roamstead::wire
