#include "coordinator/server/session_policy.h"

#include <array>
#include <string>

namespace roamstead::server {
namespace {

constexpr std::array<std::pair<SessionPolicy, std::string_view>, 4> kPolicies{{
    {SessionPolicy::takeover, "takeover"},
    {SessionPolicy::refuse, "refuse"},
    {SessionPolicy::read_only, "read-only"},
    {SessionPolicy::concurrent, "concurrent"},
}};

}  // namespace

std::string_view to_string(SessionPolicy policy) {
  for (const auto& [known, name] : kPolicies)
    if (known == policy) return name;
  return "unknown";
}

Result<SessionPolicy> parse_session_policy(std::string_view text) {
  for (const auto& [policy, name] : kPolicies)
    if (name == text) return policy;
  return fail(ErrorCode::invalid_argument, "'" + std::string(text) +
                                               "' is no session policy; there are takeover, refuse, "
                                               "read-only and concurrent");
}

}  // namespace roamstead::server
