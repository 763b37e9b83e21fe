// One at a time, for coroutines of one io thread: waiting takes no thread.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

namespace roamstead::server {

// The owner outlives those who wait. No order among them: whoever wakes first.
class Turn {
 public:
  explicit Turn(const asio::any_io_executor& executor)
      : changed_(executor, asio::steady_timer::time_point::max()) {}

  asio::awaitable<void> take() {
    asio::error_code ignored;
    while (taken_) co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    taken_ = true;
  }
  void leave() {
    taken_ = false;
    changed_.cancel();
  }

 private:
  bool taken_ = false;
  asio::steady_timer changed_;
};

}  // namespace roamstead::server
