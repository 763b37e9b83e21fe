// Which names of files are certainly none of the profile's, by a few loads: what nearly every call is about.
//
// Of each name that leads to a root (Header::prefixes) four units are kept: its last four that are plain
// ASCII. A name that has others there, or is shorter, does not begin with it. Case is left out by setting one
// bit of every unit, which makes equal A and a, but also @ and `: what passes is only perhaps the profile's,
// and is looked at closely (find_place). As no unit beyond ASCII is upcased into ASCII, what does not pass
// never is.
//
// The looking is entries.cpp's. A filter holds for one number of the header's table: a service that was
// started anew may lead other names to the profile, and has another table.
#pragma once

#include "agent/core/state_map.h"

namespace roamstead::hook {

class ScopeFilter {
 public:
  void take(const agent::state_map::Header& header) {
    using namespace agent::state_map;
    header_ = &header;
    number_ = header.table.load(std::memory_order_acquire);  // first: it changes after the prefixes
    auto* window = windows_;
    const auto count = header.prefix_count < kMaxPrefixes ? header.prefix_count : kMaxPrefixes;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto& prefix = header.prefixes[i];
      if (prefix.is_key != 0 || prefix.units == 0 || prefix.units > kMaxPrefixUnits) continue;
      if (!find_window(prefix, *window++)) number_ = kNone;
    }
    *window = {};
  }

  // False once the map may lead other names to the profile than it did.
  bool is_current() const {
    return header_ != nullptr && number_ == header_->table.load(std::memory_order_acquire);
  }

 private:
  friend struct EntryLayout;                 // reads it in assembler
  static constexpr std::uint32_t kNone = 0;  // no table's number
  static constexpr std::uint64_t kCase = 0x20 * agent::state_map::detail::kLanes;
  struct Window {
    std::uint64_t folded = 0;
    std::uint32_t prefix_bytes = 0;  // 0: the list's end
    std::uint32_t at_bytes = 0;
  };

  static std::uint64_t folded(const char16_t* units) {
    return agent::state_map::detail::four_units(units) | kCase;
  }
  // False where it has no four such units in a row; with "\??\" or "\Device\" at its beginning it has.
  static bool find_window(const agent::state_map::Prefix& prefix, Window& window) {
    constexpr auto kBeyondAscii = 0xFF80 * agent::state_map::detail::kLanes;
    for (std::uint32_t end = prefix.units; end >= 4; --end) {
      const auto* units = prefix.text + end - 4;
      if ((agent::state_map::detail::four_units(units) & kBeyondAscii) != 0) continue;
      window = {folded(units), 2u * prefix.units, 2 * (end - 4)};
      return true;
    }
    window = {0, 2u * prefix.units, 0};
    return false;
  }

  const agent::state_map::Header* header_ = nullptr;
  std::uint32_t number_ = kNone;
  Window windows_[agent::state_map::kMaxPrefixes + 1];
};

}  // namespace roamstead::hook
