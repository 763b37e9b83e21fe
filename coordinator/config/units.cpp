#include "coordinator/config/units.h"

#include <charconv>
#include <limits>
#include <span>

namespace roamstead::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t worth;
};
// From the smallest to the largest.
constexpr Unit kSizes[] = {
    {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};
constexpr Unit kDurations[] = {{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

// Milliseconds are signed, so no text may give more than that holds.
constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

tl::unexpected<Error> not_a_quantity(std::string_view text, std::string_view what,
                                     std::span<const Unit> units) {
  std::string names;
  for (const auto& unit : units) names += (names.empty() ? "" : ", ") + std::string(unit.name);
  return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is no " + std::string(what) +
                                               ": a whole number and one of " + names);
}

Result<std::uint64_t> parse_quantity(std::string_view text, std::string_view what,
                                     std::span<const Unit> units) {
  std::uint64_t number = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc()) return not_a_quantity(text, what, units);
  auto name = text.substr(static_cast<std::size_t>(end - text.data()));
  if (!name.empty() && name.front() == ' ') name.remove_prefix(1);
  for (const auto& unit : units) {
    if (unit.name != name) continue;
    if (number > kMost / unit.worth)
      return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is too much");
    return number * unit.worth;
  }
  return not_a_quantity(text, what, units);
}

std::string quantity_text(std::uint64_t number, std::span<const Unit> units) {
  auto chosen = units.front();
  for (const auto& unit : units)
    if (number != 0 && number % unit.worth == 0) chosen = unit;
  return std::to_string(number / chosen.worth) + std::string(chosen.name);
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) { return parse_quantity(text, "size", kSizes); }

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  RS_TRY(auto number, parse_quantity(text, "duration", kDurations));
  return std::chrono::milliseconds(number);
}

std::string size_text(std::uint64_t bytes) { return quantity_text(bytes, kSizes); }

std::string duration_text(std::chrono::milliseconds duration) {
  return duration.count() == 0 ? "0s"
                               : quantity_text(static_cast<std::uint64_t>(duration.count()), kDurations);
}

}  // namespace roamstead::config
