#include "coordinator/rest/schema.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "common/base/file_time.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSecond_100ns = 10'000'000;
constexpr std::uint64_t kMostText = 1024;  // bytes, where a field has no limit of its own

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The names of desktops, pools, groups and tokens: the pattern that is described is the one that is checked.
bool is_name(const std::string& text) {
  if (text.empty() || text.size() > 63) return false;
  for (char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
          c == '-' || c == '_'))
      return false;
  return text[0] != '.' && text[0] != '-' && text[0] != '_';
}

std::string fault_in_text(const std::string& text, const Field& field) {
  const auto most = field.most != 0 ? field.most : kMostText;
  if (text.size() < std::max<std::uint64_t>(field.least, 1) || text.size() > most)
    return "must have " + std::to_string(std::max<std::uint64_t>(field.least, 1)) + " to " +
           std::to_string(most) + " bytes";
  if (!field.choices.empty() &&
      std::find(field.choices.begin(), field.choices.end(), text) == field.choices.end()) {
    std::string all;
    for (const auto& choice : field.choices) all += (all.empty() ? "" : ", ") + choice;
    return "must be one of " + all;
  }
  if (!field.pattern.empty() && !is_name(text))
    return "must be 1 to 63 letters, digits, '.', '-' and '_', a letter or digit first";
  return "";
}

std::string fault_in_integer(std::uint64_t value, const Field& field) {
  if (value < field.least || (field.most != 0 && value > field.most))
    return "must be " + std::to_string(field.least) +
           (field.most != 0 ? " to " + std::to_string(field.most) : " or more");
  return "";
}

std::string fault_in(const json& value, const Field& field) {
  std::uint64_t time = 0;
  switch (field.type) {
    case Type::text:
      return value.is_string() ? fault_in_text(value.get_ref<const std::string&>(), field) : "must be a text";
    case Type::integer:
      if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0))
        return "must be a whole number, not below 0";
      return fault_in_integer(value.get<std::uint64_t>(), field);
    case Type::flag:
      return value.is_boolean() ? "" : "must be true or false";
    case Type::time:
      return value.is_string() && parse_time(value.get_ref<const std::string&>(), time)
                 ? ""
                 : "must be a time such as 2026-12-31T18:00:00Z";
    case Type::number:
    case Type::object:
    case Type::list:
    case Type::any:
      break;
  }
  return "";  // no request has these
}

json convert(const json& value) {
  if (value.is_array()) {
    auto list = json::array();
    for (const auto& each : value) list.push_back(convert(each));
    return list;
  }
  if (!value.is_object()) return value;
  auto object = json::object();
  for (const auto& [name, each] : value.items()) {
    if (each.is_null()) continue;  // not known: left out, as a time that is not set
    if (!ends_with(name, "_100ns") || !each.is_number_unsigned()) {
      object[name] = convert(each);
      continue;
    }
    const auto time = each.get<std::uint64_t>();
    if (time != 0) object[name.substr(0, name.size() - 6) + "_time"] = time_text(time);
  }
  return object;
}

}  // namespace

const Schema* find_schema(const std::string& name) {
  for (const auto& each : schemas())
    if (each.name == name) return &each;
  return nullptr;
}

json json_schema(const Field& field) {
  json schema = json::object();
  if (!field.description.empty()) schema["description"] = field.description;
  switch (field.type) {
    case Type::text:
      schema["type"] = "string";
      if (!field.choices.empty()) schema["enum"] = field.choices;
      if (!field.pattern.empty()) schema["pattern"] = field.pattern;
      if (field.least != 0) schema["minLength"] = field.least;
      if (field.most != 0) schema["maxLength"] = field.most;
      if (!field.example.empty()) schema["examples"] = {field.example};
      break;
    case Type::integer:
      schema["type"] = "integer";
      schema["minimum"] = field.least;
      if (field.most != 0) schema["maximum"] = field.most;
      break;
    case Type::number:
      schema["type"] = "number";
      break;
    case Type::flag:
      schema["type"] = "boolean";
      break;
    case Type::time:
      schema["type"] = "string";
      schema["format"] = "date-time";
      if (!field.example.empty()) schema["examples"] = {field.example};
      break;
    case Type::object:
      schema["$ref"] = "#/components/schemas/" + field.of;
      break;
    case Type::list:
      schema["type"] = "array";
      schema["items"] =
          field.of.empty() ? json{{"type", "string"}} : json{{"$ref", "#/components/schemas/" + field.of}};
      break;
    case Type::any:
      break;
  }
  return schema;
}

json json_schema(const std::vector<Field>& fields, const std::string& description) {
  json schema{{"type", "object"}, {"additionalProperties", false}, {"properties", json::object()}};
  if (!description.empty()) schema["description"] = description;
  auto required = json::array();
  for (const auto& field : fields) {
    schema["properties"][field.name] = json_schema(field);
    if (field.required) required.push_back(field.name);
  }
  if (!required.empty()) schema["required"] = required;
  return schema;
}

json faults_of(const json& object, const std::vector<Field>& fields) {
  auto faults = json::array();
  auto add = [&](const std::string& name, const std::string& detail) {
    std::string pointer = "/";
    for (char c : name) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    faults.push_back({{"pointer", pointer}, {"detail", detail}});
  };
  constexpr std::size_t kMostFaults = 20;
  for (const auto& field : fields) {
    auto found = object.find(field.name);
    if (found == object.end()) {
      if (field.required) add(field.name, "is missing");
    } else if (auto fault = fault_in(*found, field); !fault.empty()) {
      add(field.name, fault);
    }
  }
  for (const auto& [name, value] : object.items()) {
    if (faults.size() >= kMostFaults) break;
    if (std::none_of(fields.begin(), fields.end(), [&](const Field& field) { return field.name == name; }))
      add(name.substr(0, 64), "is not known here");
  }
  return faults;
}

tl::expected<json, std::string> value_of(const std::string& text, const Field& field) {
  json value = text;
  if (field.type == Type::integer) {
    std::uint64_t number = 0;
    auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size() || text.empty())
      return tl::unexpected<std::string>("must be a whole number");
    value = number;
  } else if (field.type == Type::flag && (text == "true" || text == "false")) {
    value = text == "true";
  }
  if (auto fault = fault_in(value, field); !fault.empty()) return tl::unexpected(fault);
  return value;
}

json to_command(json object) {
  for (auto it = object.begin(); it != object.end();) {
    std::uint64_t time = 0;
    if (!ends_with(it.key(), "_time") || !it->is_string() ||
        !parse_time(it->get_ref<const std::string&>(), time)) {
      ++it;
      continue;
    }
    const auto name = it.key().substr(0, it.key().size() - 5) + "_100ns";
    object.erase(it);
    object[name] = time;
    it = object.begin();
  }
  return object;
}

json from_command(const json& answer) { return convert(answer); }

bool parse_time(const std::string& text, std::uint64_t& time_100ns) {
  std::tm parts{};
  int taken = 0;
  if (text.size() > 40 ||
      std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &taken) != 6 ||
      taken != 19 || text.find_first_not_of("0123456789-:TZ.") != std::string::npos)
    return false;
  std::uint64_t fraction = 0;
  std::size_t at = 19;
  if (text[at] == '.') {
    std::uint64_t scale = kSecond_100ns;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      scale /= 10;
      fraction += scale * static_cast<std::uint64_t>(text[at] - '0');
    }
    if (text[at - 1] == '.') return false;
  }
  if (at + 1 != text.size() || text[at] != 'Z') return false;
  auto wanted = parts;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  auto normalised = parts;
  const auto seconds = ::timegm(&normalised);
  // 31 February is no day, nor 25 o'clock a time.
  if (wanted.tm_year < 1970 || normalised.tm_mday != parts.tm_mday || normalised.tm_mon != parts.tm_mon ||
      normalised.tm_hour != parts.tm_hour || normalised.tm_min != parts.tm_min ||
      normalised.tm_sec != parts.tm_sec)
    return false;
  time_100ns = kUnixEpoch_100ns + static_cast<std::uint64_t>(seconds) * kSecond_100ns + fraction;
  return true;
}

std::string time_text(std::uint64_t time_100ns) {
  // What is before 1970 was never written by a clock.
  const auto since = time_100ns < kUnixEpoch_100ns ? 0 : time_100ns - kUnixEpoch_100ns;
  const auto seconds = static_cast<std::time_t>(since / kSecond_100ns);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(since % kSecond_100ns / 10'000));
  return text;
}

}  // namespace roamstead::rest
