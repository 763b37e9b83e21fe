// Groups of profiles, and the rules by which a pool's desktops may open them.
#include "common/base/file_time.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<json> create_group(const Invocation& call) {
  RS_TRY(auto group, text_field(call.request, "group"));
  RS_CHECK(identity::check_name(group, "group"));
  RS_CHECK(call.context.store.add_group(group));
  return json{{"group", group}};
}

Result<json> remove_group(const Invocation& call) {
  RS_TRY(auto group, text_field(call.request, "group"));
  RS_CHECK(call.context.store.remove_group(group));
  return json{{"group", group}, {"removed", true}};
}

Result<json> change_member(const Invocation& call, bool add) {
  RS_TRY(auto group, text_field(call.request, "group"));
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  if (add)
    RS_CHECK(call.context.store.add_member({group, profile.id, profile.name}));
  else
    RS_CHECK(call.context.store.remove_member(group, profile.id));
  return json{{"group", group}, {"profile", profile.name}, {"member", add}};
}

Result<json> list_groups(const Invocation& call) {
  RS_TRY(auto groups, call.context.store.groups());
  RS_TRY(auto members, call.context.store.members());
  RS_TRY(auto rules, call.context.store.rules());
  auto all = json::array();
  for (const auto& group : groups) {
    auto profiles = json::array();
    for (const auto& member : members)
      if (member.group == group) profiles.push_back(member.profile_name);
    auto pools = json::array();
    for (const auto& rule : rules)
      if (rule.group == group) pools.push_back({{"pool", rule.pool}, {"until_100ns", rule.until_100ns}});
    all.push_back({{"group", group}, {"profiles", profiles}, {"pools", pools}});
  }
  return json{{"groups", all}};
}

Result<json> add_rule(const Invocation& call) {
  RS_TRY(auto pool, text_field(call.request, "pool"));
  RS_TRY(auto group, text_field(call.request, "group"));
  RS_TRY(auto until, end_field(call.request));
  RS_CHECK(call.context.store.add_rule({pool, group, until}));
  return json{{"pool", pool}, {"group", group}, {"until_100ns", until}};
}

Result<json> remove_rule(const Invocation& call) {
  RS_TRY(auto pool, text_field(call.request, "pool"));
  RS_TRY(auto group, text_field(call.request, "group"));
  RS_CHECK(call.context.store.remove_rule(pool, group));
  return json{{"pool", pool}, {"group", group}, {"removed", true}};
}

}  // namespace

Result<std::uint64_t> end_field(const json& request) {
  RS_TRY(auto until, number_field_or(request, "until_100ns", 0));
  if (until != 0 && until <= now_100ns())
    return fail(ErrorCode::invalid_argument, "the end is in the past already");
  if (until > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return fail(ErrorCode::invalid_argument, "the end is too far away");
  return until;
}

void add_group_commands(CommandTable& table) {
  table.add({"group.create", Role::operator_, create_group, {"group"}});
  table.add({"group.delete", Role::operator_, remove_group, {"group"}});
  table.add({"group.add",
             Role::operator_,
             [](const Invocation& call) { return change_member(call, true); },
             {"group", "profile"}});
  table.add({"group.remove",
             Role::operator_,
             [](const Invocation& call) { return change_member(call, false); },
             {"group", "profile"}});
  table.add({"group.list", Role::viewer, list_groups, {}});
  table.add({"rule.add", Role::operator_, add_rule, {"pool", "group", "until_100ns"}});
  table.add({"rule.remove", Role::operator_, remove_rule, {"pool", "group"}});
}

}  // namespace roamstead::server
