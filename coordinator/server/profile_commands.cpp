// A profile as administrators see it: what it holds, what it may hold, who has it open.
#include "coordinator/repository/forks.h"
#include "coordinator/server/command_table.h"
#include "coordinator/server/quota.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<json> set_quota(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  std::optional<std::uint64_t> quota;
  if (call.request.contains("quota_bytes")) {
    RS_TRY(quota, number_field_or(call.request, "quota_bytes", 0));
  }
  RS_CHECK(call.context.store.set_quota(profile.id, quota));
  json result{{"profile", name}};
  if (quota) result["quota_bytes"] = *quota;
  return result;
}

Result<json> show_profile(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "profile"));
  const auto& repository = call.context.repository;
  RS_TRY(auto profile, repository.find_profile(name));
  RS_TRY(auto versions, repository.versions(profile.id));
  RS_TRY(auto bytes, repository.logical_bytes(profile.id, profile.head));
  RS_TRY(auto own, call.context.store.quota(profile.id));
  json result{{"profile", name},
              {"id", profile.id.to_string()},
              {"head", profile.head},
              {"versions", versions.size()},
              {"logical_bytes", bytes}};
  if (own) result["quota_bytes"] = *own;
  std::size_t open_forks = 0;
  for (const auto& fork : repository::forks_of(versions)) open_forks += fork.is_open() ? 1 : 0;
  result["open_forks"] = open_forks;
  auto sessions = json::array();
  RS_TRY(auto active, call.context.sessions.sessions(true));
  for (const auto& session : active) {
    if (session.row.profile != profile.id) continue;
    auto quota = quota_for(call.context.store, session.row.desktop, profile.id);
    sessions.push_back({{"session", session.row.id.to_string()},
                        {"desktop", session.row.desktop},
                        {"quota_bytes", quota.bytes},
                        {"quota_from", quota.from},
                        {"over_quota", session.refused_bytes != 0},
                        {"refused_bytes", session.refused_bytes}});
  }
  result["sessions"] = std::move(sessions);
  return result;
}

}  // namespace

Quota quota_for(const StateStore& store, const std::string& desktop, const repository::ProfileId& profile) {
  if (auto own = store.quota(profile); own && *own) return {**own, "profile"};
  auto pool = store.pool_of(desktop);
  if (!pool || pool->quota_bytes == 0) return {};
  return {pool->quota_bytes, "pool " + pool->name};
}

void add_quota_commands(CommandTable& table) {
  table.add({"profile.quota", Role::operator_, set_quota, {"profile", "quota_bytes"}});
  table.add({"profile.show", Role::viewer, show_profile, {}});
}

}  // namespace roamstead::server
