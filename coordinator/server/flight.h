// Bytes in memory for desktops: requests, answers that are made or wait to be sent, parts of batches on their
// way to the spool. Bounded for each desktop and for all of them: nothing more is read from who is beyond it,
// so that the network holds it back. One desktop fills its own share at most, and where all of it is taken
// connections are served in the order in which they came. Of the io thread.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

namespace roamstead::server {

class Flight {
 public:
  struct Limits {
    std::uint64_t bytes = 256ull << 20;
    std::uint64_t bytes_per_desktop = 32ull << 20;
  };
  // What one desktop has under way; shared by its connections and by what was taken for them.
  struct Share {
    std::uint64_t bytes = 0;
  };

  // Bytes that count until it goes; the flight outlives it.
  class Charge {
   public:
    Charge() = default;
    Charge(Flight& flight, std::shared_ptr<Share> share, std::uint64_t bytes)
        : flight_(&flight), share_(std::move(share)), bytes_(bytes) {
      flight_->bytes_ += bytes_;
      share_->bytes += bytes_;
    }
    Charge(Charge&& other) noexcept
        : flight_(std::exchange(other.flight_, nullptr)),
          share_(std::move(other.share_)),
          bytes_(other.bytes_) {}
    Charge& operator=(Charge&& other) noexcept {
      std::swap(flight_, other.flight_);
      std::swap(share_, other.share_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Charge() { change(0); }
    void change(std::uint64_t bytes) {
      if (flight_ == nullptr) return;
      flight_->bytes_ = flight_->bytes_ - bytes_ + bytes;
      share_->bytes = share_->bytes - bytes_ + bytes;
      const bool less = bytes < bytes_;
      bytes_ = bytes;
      if (less) flight_->wake();
    }
    std::uint64_t bytes() const { return bytes_; }

   private:
    Flight* flight_ = nullptr;
    std::shared_ptr<Share> share_;  // outlives the desktop's connections
    std::uint64_t bytes_ = 0;
  };

  Flight(const asio::any_io_executor& executor, Limits limits) : executor_(executor), limits_(limits) {}

  // Returns when one more frame may be read for this desktop, or `given_up` says that nobody waits any more.
  asio::awaitable<void> admit(std::shared_ptr<Share> share, std::function<bool()> given_up) {
    if (waiting_.empty() && has_room(*share)) co_return;
    auto waiter = std::make_shared<Waiter>(executor_, share);
    waiting_.push_back(waiter);
    while (!waiter->admitted && !given_up()) {
      // Woken when there is room; looks now and then whether it is still wanted.
      waiter->timer.expires_after(std::chrono::seconds(1));
      asio::error_code ignored;
      wake();
      if (!waiter->admitted)
        co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    std::erase(waiting_, waiter);
    wake();
  }

  void set_limits(Limits limits) {
    limits_ = limits;
    wake();
  }
  std::uint64_t bytes() const { return bytes_; }  // from any thread
  std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Waiter {
    Waiter(const asio::any_io_executor& executor, std::shared_ptr<Share> of)
        : timer(executor), share(std::move(of)) {}
    asio::steady_timer timer;
    std::shared_ptr<Share> share;
    bool admitted = false;
  };

  bool has_room(const Share& share) const {
    return bytes_ < limits_.bytes && share.bytes < limits_.bytes_per_desktop;
  }
  // Whoever came first of those whose desktops have room; one at a time, as each takes of it. Who has filled
  // its own share stands in nobody's way.
  void wake() {
    for (const auto& waiter : waiting_) {
      if (waiter->admitted) return;  // its frame is not counted yet
      if (!has_room(*waiter->share)) continue;
      waiter->admitted = true;
      waiter->timer.cancel();
      return;
    }
  }

  asio::any_io_executor executor_;
  Limits limits_;
  std::atomic<std::uint64_t> bytes_{0};  // changed on the io thread alone
  std::deque<std::shared_ptr<Waiter>> waiting_;
};

}  // namespace roamstead::server
