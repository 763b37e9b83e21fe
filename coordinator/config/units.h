// Sizes ("64GiB") and durations ("30s") as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace roamstead::config {

// A whole number and a unit, with or without a space between: B, KiB, MiB, GiB, TiB. Units of 1000 are
// refused by name: nobody can tell which ones were meant.
Result<std::uint64_t> parse_size(std::string_view text);
// A whole number and a unit: ms, s, min, h, d.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

// In the largest unit that gives a whole number; parsed again they are the same.
std::string size_text(std::uint64_t bytes);
std::string duration_text(std::chrono::milliseconds duration);

}  // namespace roamstead::config
