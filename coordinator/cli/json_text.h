// Answers of commands as text, and words of the command line as what commands take.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "common/base/result.h"

namespace roamstead::cli {

// A field as text; "" when it is missing.
std::string json_text(const nlohmann::json& object, const char* name);
// An array; an empty one when it is missing.
const nlohmann::json& json_list(const nlohmann::json& object, const char* name);
// A time in 100 ns as "2026-12-31 18:00:00Z"; "-" when there is none.
std::string json_time(const nlohmann::json& time_100ns);

// "90s", "30m", "24h", "7d".
Result<std::uint64_t> parse_duration_seconds(const std::string& text);
// "20GiB"; "none": 0.
Result<std::uint64_t> parse_quota(const std::string& text);
// "none" for 0.
std::string quota_shown(std::uint64_t bytes);
// "2026-12-31" (its end), "2026-12-31T18:00" or "2026-12-31T18:00:00Z", UTC; or a duration from now on.
Result<std::uint64_t> parse_end_100ns(const std::string& text);
// Adds "until_100ns" unless the text is empty.
Result<void> put_end(nlohmann::json& request, const std::string& text);

}  // namespace roamstead::cli
