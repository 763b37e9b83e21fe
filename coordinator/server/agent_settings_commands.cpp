// What a pool's agents are set to (coordinator/config/agent_settings_file.h).
#include "coordinator/config/agent_settings_file.h"
#include "coordinator/server/agent_settings.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<json> describe(const std::string& pool, const std::string& text) {
  RS_TRY(const auto sent, config::parse_agent_settings(text, "settings of pool " + pool));
  auto values = json::array();
  for (const auto& each : sent) values.push_back({{"name", each.name}, {"value", each.value}});
  return json{{"pool", pool}, {"text", text}, {"settings", values}};
}

Result<json> set_settings(const Invocation& call) {
  RS_TRY(const auto pool, text_field(call.request, "pool"));
  RS_TRY(const auto text, text_field_or(call.request, "text", ""));  // without: none
  RS_TRY(auto described, describe(pool, text));
  RS_CHECK(call.context.store.set_pool_agent_settings(pool, text));
  RS_TRY(const auto desktops, call.context.store.desktops());
  std::vector<std::string> concerned;
  for (const auto& desktop : desktops)
    if (desktop.pool == pool && desktop.revoked_100ns == 0) concerned.push_back(desktop.name);
  announce_settings(call.context, concerned);
  return described;
}

Result<json> show_settings(const Invocation& call) {
  RS_TRY(const auto pool, text_field(call.request, "pool"));
  RS_CHECK(call.context.store.pool(pool).map([](const auto&) {}));
  RS_TRY(const auto text, call.context.store.pool_agent_settings(pool));
  return describe(pool, text);
}

}  // namespace

void add_agent_settings_commands(CommandTable& table) {
  table.add({"desktop-pool.settings.set", Role::administrator, set_settings, {"pool"}});
  table.add({"desktop-pool.settings.show", Role::viewer, show_settings, {}});
}

}  // namespace roamstead::server
