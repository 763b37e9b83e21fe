#include "coordinator/cli/json_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/file_time.h"
#include "coordinator/config/units.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSecond_100ns = 10'000'000;

struct Unit {
  const char* name;
  std::uint64_t factor;
};

// A number and the name of a unit right behind it.
template <std::size_t N>
Result<std::uint64_t> parse_with_unit(const std::string& text, const Unit (&units)[N], const char* example) {
  auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  auto unit = text.substr(digits);
  for (const auto& each : units)
    if (unit == each.name && digits != 0 && digits <= 15) {
      auto number = std::stoull(text.substr(0, digits));
      if (number <= std::numeric_limits<std::int64_t>::max() / each.factor) return number * each.factor;
    }
  return fail(ErrorCode::invalid_argument, "'" + text + "' is not like " + example);
}

}  // namespace

Result<std::uint64_t> parse_quota(const std::string& text) {
  if (text == "none") return 0;
  RS_TRY_CTX(auto bytes, "quota", config::parse_size(text));
  if (bytes == 0 || bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return fail(ErrorCode::invalid_argument, "a quota is a size such as 20GiB, or none");
  return bytes;
}

std::string quota_shown(std::uint64_t bytes) { return bytes == 0 ? "none" : config::size_text(bytes); }

std::string json_text(const json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

const json& json_list(const json& object, const char* name) {
  static const json empty = json::array();
  auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : empty;
}

std::string json_time(const json& time_100ns) {
  auto time = time_100ns.is_number_unsigned() ? time_100ns.get<std::uint64_t>() : 0;
  if (time < kUnixEpoch_100ns) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}Z",
                     fmt::gmtime(static_cast<std::time_t>((time - kUnixEpoch_100ns) / kSecond_100ns)));
}

Result<std::uint64_t> parse_duration_seconds(const std::string& text) {
  constexpr Unit kUnits[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}};
  return parse_with_unit(text, kUnits, "90s, 30m, 24h or 7d");
}

Result<std::uint64_t> parse_end_100ns(const std::string& text) {
  std::tm parts{};
  for (const char* format :
       {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"}) {
    parts = {};
    const char* rest = ::strptime(text.c_str(), format, &parts);
    if (rest == nullptr || *rest != '\0') continue;
    auto seconds = ::timegm(&parts);
    if (seconds < 0) break;
    bool whole_day = std::string_view(format) == "%Y-%m-%d";
    return kUnixEpoch_100ns +
           (static_cast<std::uint64_t>(seconds) + (whole_day ? 86'400 : 0)) * kSecond_100ns;
  }
  auto duration = parse_duration_seconds(text);
  constexpr std::uint64_t kLongest_s = 100ull * 366 * 86'400;
  if (!duration || *duration > kLongest_s)
    return fail(ErrorCode::invalid_argument,
                "'" + text + "' is no time like 2026-12-31, 2026-12-31T18:00 (UTC), 8h or 30d");
  return now_100ns() + *duration * kSecond_100ns;
}

Result<void> put_end(json& request, const std::string& text) {
  if (text.empty()) return {};
  RS_TRY(request["until_100ns"], parse_end_100ns(text));
  return {};
}

}  // namespace roamstead::cli
