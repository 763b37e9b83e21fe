// What a user's log-ins touch first: said by the desktop once it knows, sent ahead at the next log-in. Both
// sides keep to these bounds; 512 names of usual length are some 30 KiB in the answer to a log-in.
#pragma once

#include "common/wire/coordinator_link.h"

namespace roamstead::wire {

inline constexpr std::size_t kMostWorkingItems = 512;
inline constexpr std::size_t kMostWorkingNameBytes = 64u << 10;       // of all paths and keys
inline constexpr std::uint64_t kMostWorkingContentBytes = 16u << 20;  // of the files

// ErrorCode::invalid_argument for an unknown kind, an impossible path or key, or too much in all.
inline Result<void> check_working_set(const std::vector<WorkingItem>& items) {
  if (items.size() > kMostWorkingItems)
    return fail(ErrorCode::invalid_argument, "a working set of " + std::to_string(items.size()) +
                                                 " items, at most " + std::to_string(kMostWorkingItems));
  std::size_t bytes = 0;
  for (const auto& item : items) {
    if (item.kind > WorkingItem::Kind::key)
      return fail(ErrorCode::invalid_argument, "an item of a working set that is of an unknown kind");
    bytes += item.path.size() + item.key.size();
    if (bytes > kMostWorkingNameBytes)
      return fail(ErrorCode::invalid_argument, "a working set with more than " +
                                                   std::to_string(kMostWorkingNameBytes) + " bytes of names");
    RS_CHECK_CTX("working set", profile::ProfilePath::parse(item.path).map([](const auto&) {}));
    RS_CHECK_CTX("working set", profile::KeyPath::parse(item.key).map([](const auto&) {}));
  }
  return {};
}

}  // namespace roamstead::wire
