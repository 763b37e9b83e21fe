// Pools of desktops: what holds for all that are in one.
#include "common/base/file_time.h"
#include "coordinator/server/agent_settings.h"
#include "coordinator/server/command_table.h"
#include "coordinator/server/session_policy.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

json to_json(const Pool& pool) {
  return {{"pool", pool.name},
          {"session_policy", pool.session_policy},
          {"quota_bytes", pool.quota_bytes},
          {"created_100ns", pool.created_100ns}};
}

// What the request says of a pool, the rest as it is.
Result<Pool> described(const json& request, Pool pool) {
  RS_TRY(pool.session_policy, text_field_or(request, "session_policy", pool.session_policy));
  RS_CHECK(parse_session_policy(pool.session_policy).map([](SessionPolicy) {}));
  RS_TRY(pool.quota_bytes, number_field_or(request, "quota_bytes", pool.quota_bytes));
  return pool;
}

Result<json> create_pool(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "pool"));
  RS_CHECK(identity::check_name(name, "pool"));
  Pool fresh;
  fresh.name = name;
  fresh.created_100ns = now_100ns();
  RS_TRY(auto pool, described(call.request, fresh));
  RS_CHECK(call.context.store.add_pool(pool));
  return to_json(pool);
}

Result<json> set_pool(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "pool"));
  RS_TRY(auto present, call.context.store.pool(name));
  RS_TRY(auto pool, described(call.request, present));
  RS_CHECK(call.context.store.set_pool(pool));
  RS_TRY(auto desktops, call.context.store.desktops());
  for (const auto& desktop : desktops)
    if (desktop.pool == name) call.context.sessions.announce_policy(desktop.name);
  return to_json(pool);
}

Result<json> list_pools(const Invocation& call) {
  RS_TRY(auto pools, call.context.store.pools());
  auto all = json::array();
  for (const auto& pool : pools) all.push_back(to_json(pool));
  return json{{"pools", all}};
}

Result<json> move_desktop(const Invocation& call) {
  RS_TRY(auto desktop, text_field(call.request, "desktop"));
  RS_TRY(auto pool, text_field(call.request, "pool"));
  RS_CHECK(call.context.store.set_pool_of(desktop, pool));
  call.context.sessions.announce_policy(desktop);
  announce_settings(call.context, {desktop});
  return json{{"desktop", desktop}, {"pool", pool}};
}

}  // namespace

void add_pool_commands(CommandTable& table) {
  table.add(
      {"desktop-pool.create", Role::administrator, create_pool, {"pool", "session_policy", "quota_bytes"}});
  table.add({"desktop-pool.set", Role::administrator, set_pool, {"pool", "session_policy", "quota_bytes"}});
  table.add({"desktop-pool.list", Role::viewer, list_pools, {}});
  table.add({"desktop-pool.move", Role::administrator, move_desktop, {"desktop", "pool"}});
}

}  // namespace roamstead::server
