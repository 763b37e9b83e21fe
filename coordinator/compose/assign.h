// Which users get which desktops of a pool, and how much of theirs is laid on the disks beforehand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace roamstead::compose {

struct AssignRule {
  std::string desktop;  // "" every one of the pool
  std::string profile;  // with `desktop` "": a name with {n}, the desktop's number
};

struct AssignSpec {
  std::vector<AssignRule> rules;
  std::uint64_t prewarm_bytes = 16u << 20;  // for each desktop; 0: nothing
};

struct PoolSpec;
class SpecTable;
// [[assign]] and [prewarm].
void read_assign(SpecTable& table, PoolSpec& spec);
void read_prewarm(SpecTable& table, PoolSpec& spec);
// Those that the rules name for the desktop, counted from 0.
std::vector<std::string> profiles_of(const PoolSpec& spec, std::uint64_t index);

}  // namespace roamstead::compose
