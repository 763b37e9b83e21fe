// Waiting, within limits, for a coordinator that is away.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/base/result.h"

namespace roamstead::agent {

// Whether trying again later may help.
inline bool is_away(const Error& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::timeout ||
         error.code == ErrorCode::busy;
}

// Calls again, ever more slowly, while the other side is away, for at most `patience`.
template <class Call>
auto retry_while_away(std::chrono::milliseconds patience, Call call) -> decltype(call()) {
  auto until = std::chrono::steady_clock::now() + patience;
  for (auto pause = std::chrono::milliseconds(20);;
       pause = std::min(pause * 2, std::chrono::milliseconds(1000))) {
    auto result = call();
    if (result || !is_away(result.error()) || std::chrono::steady_clock::now() + pause >= until)
      return result;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace roamstead::agent
