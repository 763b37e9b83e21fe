// What a rule set would have saved, had it held before: a profile's stored versions looked at through it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/profile/rules.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

struct RuleCost {
  std::uint64_t items = 0;  // files, folders, keys, values
  std::uint64_t bytes = 0;  // of files, their streams, and values; before compression and deduplication
};

struct RulesReport {
  struct Version {
    std::uint64_t number = 0;
    RuleCost changed;  // what was saved by it
    RuleCost spared;   // of that, what the rules leave out
    std::map<profile::RuleIndex, RuleCost> by_rule;
  };
  std::vector<Version> versions;                   // of the head's line, oldest first
  std::map<profile::RuleIndex, RuleCost> by_rule;  // of all those versions
  RuleCost spared;                                 // the same together
  RuleCost head, head_left_out;                    // the newest version, and what of it would no longer roam
  std::map<profile::RuleIndex, RuleCost> head_by_rule;
  std::vector<std::string> no_longer;                  // the topmost items of those; a key as HIVE\KEY
  bool more = false;                                   // there are more than kMostNamed of them
  std::vector<std::string> only_at_logout, too_large;  // of the head; the same bound

  static constexpr std::size_t kMostNamed = 200;
};

// Of the newest `most_versions` on the head's line. Reads every version's differences and the whole head, no
// content. Size limits count as rules that leave out.
Result<RulesReport> report_rules(const Repository& repository, const ProfileInfo& profile,
                                 const profile::Rules& rules, std::size_t most_versions);

}  // namespace roamstead::repository
