// Runs a blocking function on a pool from a coroutine, which goes on where it was.
#pragma once

#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <memory>
#include <type_traits>

namespace roamstead::server {

// The function must not throw, and must own what it needs.
template <class Function>
asio::awaitable<std::invoke_result_t<Function>> run_on(asio::thread_pool& pool, Function function) {
  using Outcome = std::invoke_result_t<Function>;
  return asio::async_initiate<const asio::use_awaitable_t<>&, void(Outcome)>(
      [&pool](auto handler, Function work) {
        // The guard keeps the io_context running until the outcome is back there.
        auto executor = asio::get_associated_executor(handler);
        asio::post(pool, [handler = std::move(handler), work = std::move(work),
                          guard = asio::make_work_guard(executor)]() mutable {
          auto outcome = std::make_unique<Outcome>(work());
          asio::post(guard.get_executor(),
                     [handler = std::move(handler), outcome = std::move(outcome)]() mutable {
                       handler(std::move(*outcome));
                     });
        });
      },
      asio::use_awaitable, std::move(function));
}

}  // namespace roamstead::server
