// What happens when a profile that is open on one desktop is wanted on another.
#pragma once

#include <string_view>

#include "common/base/result.h"

namespace roamstead::server {

enum class SessionPolicy {
  takeover,    // the first desktop is asked to send what it has and loses the session; the second goes on
  refuse,      // the second is refused as long as the first has its lease
  read_only,   // the second may read; what it saves all the same becomes a fork
  concurrent,  // both may save; what they save is merged, per file and per registry value
};

std::string_view to_string(SessionPolicy policy);  // "takeover", "refuse", "read-only", "concurrent"
// ErrorCode::invalid_argument lists what there is.
Result<SessionPolicy> parse_session_policy(std::string_view text);

}  // namespace roamstead::server
