// Rules of profiles (coordinator/config/rules_file.h): a pool's, and a profile's own.
#include "coordinator/config/rules_file.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

// What is not taken alone may still be too much together with the others: then the log-in says so.
Result<json> describe(const std::string& of, const std::string& name, const std::string& text) {
  RS_TRY(const auto rules, config::effective_rules(text, ""));
  return json{{of, name}, {"rules", text}, {"count", rules.all().size()}, {"hash", rules.hash()}};
}

void announce_to_pool(const Invocation& call, const std::string& pool) {
  auto desktops = call.context.store.desktops();
  if (!desktops) return;  // they learn of it at their next log-in all the same
  for (const auto& desktop : *desktops)
    if (desktop.pool == pool) call.context.sessions.announce_policy(desktop.name);
}

void announce_to_holders(const Invocation& call, const repository::ProfileId& profile) {
  auto active = call.context.sessions.sessions(true);
  if (!active) return;
  for (const auto& session : *active)
    if (session.row.profile == profile) call.context.sessions.announce_policy(session.row.desktop);
}

Result<json> set_profile_rules(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto text, text_field_or(call.request, "rules", ""));  // without: none
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  RS_TRY(auto described, describe("profile", name, text));
  RS_CHECK(call.context.store.set_profile_rules(profile.id, text));
  announce_to_holders(call, profile.id);
  return described;
}

Result<json> show_profile_rules(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  RS_TRY(auto text, call.context.store.profile_rules(profile.id));
  return describe("profile", name, text);
}

Result<json> set_pool_rules(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "pool"));
  RS_TRY(auto text, text_field_or(call.request, "rules", ""));  // without: none
  RS_TRY(auto described, describe("pool", name, text));
  RS_CHECK(call.context.store.set_pool_rules(name, text));
  announce_to_pool(call, name);
  return described;
}

Result<json> show_pool_rules(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "pool"));
  RS_CHECK(call.context.store.pool(name).map([](const auto&) {}));
  RS_TRY(auto text, call.context.store.pool_rules(name));
  return describe("pool", name, text);
}

}  // namespace

void add_rules_commands(CommandTable& table) {
  table.add({"profile.rules.set", Role::administrator, set_profile_rules, {"profile"}});
  table.add({"profile.rules.show", Role::viewer, show_profile_rules, {}});
  table.add({"desktop-pool.rules.set", Role::administrator, set_pool_rules, {"pool"}});
  table.add({"desktop-pool.rules.show", Role::viewer, show_pool_rules, {}});
}

}  // namespace roamstead::server
