#include "coordinator/server/profile_rules.h"

#include "coordinator/config/rules_file.h"

namespace roamstead::server {

Result<std::string> ProfileRules::canonical(const std::string& desktop,
                                            const repository::ProfileId& profile) {
  RS_TRY(const auto pool, store_.pool_of(desktop));
  RS_TRY(auto pool_text, store_.pool_rules(pool.name));
  RS_TRY(auto own_text, store_.profile_rules(profile));
  if (pool_text.empty() && own_text.empty()) return std::string();
  std::pair key(std::move(pool_text), std::move(own_text));
  {
    std::lock_guard guard(mutex_);
    if (const auto known = kept_.find(key); known != kept_.end()) return known->second;
  }
  RS_TRY(const auto rules, config::effective_rules(key.first, key.second));
  std::lock_guard guard(mutex_);
  if (kept_.size() >= kMostKept) kept_.clear();
  return kept_.insert_or_assign(std::move(key), rules.canonical()).first->second;
}

}  // namespace roamstead::server
