#include "coordinator/rest/route_parts.h"

namespace roamstead::rest {
namespace {

constexpr const char* kName = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";

}  // namespace

Field name_field(std::string name, std::string description, std::string example) {
  Field field{std::move(name), Type::text, std::move(description)};
  field.pattern = kName;
  field.example = std::move(example);
  return field;
}
Field profile_field() {
  Field field{"profile", Type::text, "A profile's name"};
  field.least = 1;
  field.most = 255;
  field.example = "alice";
  return field;
}
Field number_field(std::string name, std::string description, std::uint64_t least, std::uint64_t most) {
  Field field{std::move(name), Type::integer, std::move(description)};
  field.least = least;
  field.most = most;
  return field;
}
Field optional(Field field) {
  field.required = false;
  return field;
}
Field until_field() { return optional({"until_time", Type::time, "When it ends, to come; without: never"}); }
Field flag_field(std::string name, std::string description) {
  return optional({std::move(name), Type::flag, std::move(description)});
}
Field rules_field() {
  Field field{"rules", Type::text, "Rules of what roams, TOML (docs/format-rules.md); without: none"};
  field.most = 256u << 10;
  return field;
}
Field agent_settings_field() {
  Field field{"text", Type::text, "TOML with a table [agent.settings] (docs/provisioning.md); without: none"};
  field.most = 64u << 10;
  return field;
}
Field quota_field() { return {"quota_bytes", Type::integer, "What a profile may hold; 0: no limit"}; }

}  // namespace roamstead::rest
