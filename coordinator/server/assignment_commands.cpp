// Which desktop may open which profile.
#include "coordinator/server/command_table.h"

#include <algorithm>

#include "common/base/log.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<json> change_assignment(const Invocation& call, bool add) {
  RS_TRY(auto desktop, text_field(call.request, "desktop"));
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  if (add) {
    RS_TRY(auto desktops, call.context.store.desktops());
    bool enrolled = std::any_of(desktops.begin(), desktops.end(), [&](const Desktop& each) {
      return each.name == desktop && each.revoked_100ns == 0;
    });
    if (!enrolled) return fail(ErrorCode::not_found, "no desktop '" + desktop + "' is enrolled");
    RS_TRY(auto until, end_field(call.request));
    RS_CHECK(call.context.store.assign({desktop, profile.id, profile.name, until}));
    call.context.sessions.announce(desktop, profile.name);
  } else {
    RS_CHECK(call.context.store.unassign(desktop, profile.id));
  }
  log_info("profile '{}' {} desktop '{}'", profile.name, add ? "assigned to" : "no longer assigned to",
           desktop);
  return json{{"desktop", desktop}, {"profile", profile.name}, {"assigned", add}};
}

Result<json> list_assignments(const Invocation& call) {
  RS_TRY(auto assignments, call.context.store.assignments());
  auto list = json::array();
  for (const auto& each : assignments)
    list.push_back(
        {{"desktop", each.desktop}, {"profile", each.profile_name}, {"until_100ns", each.until_100ns}});
  // By rule: what the desktops of a pool may open as well.
  RS_TRY(auto rules, call.context.store.rules());
  auto by_rule = json::array();
  for (const auto& rule : rules)
    by_rule.push_back({{"pool", rule.pool}, {"group", rule.group}, {"until_100ns", rule.until_100ns}});
  return json{{"assignments", list}, {"rules", by_rule}};
}

}  // namespace

void add_assignment_commands(CommandTable& table) {
  table.add({"assignment.add",
             Role::operator_,
             [](const Invocation& call) { return change_assignment(call, true); },
             {"desktop", "profile", "until_100ns"}});
  table.add({"assignment.remove",
             Role::operator_,
             [](const Invocation& call) { return change_assignment(call, false); },
             {"desktop", "profile"}});
  table.add({"assignment.list", Role::viewer, list_assignments, {}});
}

}  // namespace roamstead::server
