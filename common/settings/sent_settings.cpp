#include "common/settings/sent_settings.h"

#include <algorithm>
#include <charconv>

#include "common/base/text.h"

namespace roamstead::settings {
namespace {

constexpr std::string_view kFirstLine = "roamstead agent settings 1";

}  // namespace

Result<void> check_sent_size(const SentSettings& sent) {
  if (sent.size() > kMostSentSettings)
    return fail(ErrorCode::protocol, std::to_string(sent.size()) + " settings where at most " +
                                         std::to_string(kMostSentSettings) + " are sent");
  // Names go into logs as they are.
  const auto is_plain = [](char each) {
    return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9');
  };
  for (const auto& each : sent)
    if (!std::all_of(each.name.begin(), each.name.end(), is_plain))
      return fail(ErrorCode::protocol, "a setting whose name is not of letters and digits");
  for (const auto& each : sent)
    if (each.name.size() > kMostSentBytes || each.value.size() > kMostSentBytes)
      return fail(ErrorCode::protocol, "a setting of more than " + std::to_string(kMostSentBytes) + " bytes");
  return {};
}

Result<std::uint64_t> parse_number(std::string_view digits) {
  std::uint64_t number = 0;
  const auto* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, number);
  if (error != std::errc() || at != end) return fail(ErrorCode::invalid_argument, "is to be a whole number");
  return number;
}

Result<const Setting*> check_sent(const SentSetting& sent) {
  const auto* setting = find_setting(sent.name);
  if (setting == nullptr) return fail(ErrorCode::not_found, "there is no such setting");
  if (!setting->from_coordinator)
    return fail(ErrorCode::denied, "is not for a coordinator to set: set it on the desktop");
  if (setting->type == Setting::Type::number) {
    RS_TRY(const auto number, parse_number(sent.value));
    RS_CHECK(check_number(*setting, number));
  } else {
    const auto is_control = [](char each) { return static_cast<unsigned char>(each) < ' '; };
    if (!is_wtf8(sent.value) || std::any_of(sent.value.begin(), sent.value.end(), is_control))
      return fail(ErrorCode::invalid_argument, "is to be a text of one line");
    RS_CHECK(check_text(*setting, sent.value));
  }
  return setting;
}

Bytes encode_sent(const SentSettings& sent) {
  auto text = std::string(kFirstLine) + "\n";
  for (const auto& each : sent)
    if (const auto setting = check_sent(each); setting)
      text += std::string((*setting)->name) + "=" + each.value + "\n";
  return to_bytes(as_bytes(text));
}

Result<SentSettings> decode_sent(ByteView file) {
  if (file.size() > kMostSentFileBytes) return fail(ErrorCode::corrupt, "is too long");
  SentSettings sent;
  auto rest = as_text(file);
  for (bool first = true; !rest.empty(); first = false) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) return fail(ErrorCode::corrupt, "its last line has no end");
    const auto line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (first) {
      if (line != kFirstLine) return fail(ErrorCode::corrupt, "does not begin as such a file does");
      continue;
    }
    const auto equals = line.find('=');
    if (equals == std::string_view::npos)
      return fail(ErrorCode::corrupt, "a line of it is no setting with a value");
    sent.push_back({std::string(line.substr(0, equals)), std::string(line.substr(equals + 1))});
  }
  if (auto bounded = check_sent_size(sent); !bounded)
    return fail(ErrorCode::corrupt, bounded.error().message);
  return sent;
}

}  // namespace roamstead::settings
