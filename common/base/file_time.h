// Time as Windows counts it: 100 ns since 1601-01-01 UTC (FILETIME).
#pragma once

#include <chrono>
#include <cstdint>

namespace roamstead {

inline constexpr std::uint64_t kUnixEpoch_100ns = 116'444'736'000'000'000;  // 1970

inline std::uint64_t now_100ns() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return kUnixEpoch_100ns + static_cast<std::uint64_t>(
                                std::chrono::duration_cast<std::chrono::nanoseconds>(since).count() / 100);
}

}  // namespace roamstead
