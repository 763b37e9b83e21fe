// Desktops: enrolment by an administrator, revocation, listing.
#include "coordinator/server/command_table.h"

#include <algorithm>

#include "common/base/file_time.h"
#include "common/base/log.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<json> enroll_desktop(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "desktop"));
  auto address = call.context.address;
  if (call.request.contains("address")) {
    RS_TRY(address, text_field(call.request, "address"));
  }
  RS_TRY(auto pool, text_field_or(call.request, "pool", kDefaultPool));
  RS_TRY(auto issued, call.context.authority.issue_desktop(name));
  RS_CHECK(call.context.store.add_desktop({name, issued.serial, now_100ns(), 0, pool}));
  log_info("desktop '{}' enrolled, certificate {}", name, issued.serial);
  return json{{"desktop", name},
              {"serial", issued.serial},
              {"coordinator", address},
              {"key_pem", issued.key_pem},
              {"certificate_pem", issued.certificate_pem},
              {"ca_pem", call.context.authority.certificate_pem()}};
}

Result<json> list_desktops(const Invocation& call) {
  RS_TRY(auto desktops, call.context.store.desktops());
  auto list = json::array();
  for (const auto& desktop : desktops)
    list.push_back({{"desktop", desktop.name},
                    {"pool", desktop.pool},
                    {"serial", desktop.serial},
                    {"enrolled_100ns", desktop.enrolled_100ns},
                    {"disk", desktop.disk},
                    {"revoked", desktop.revoked_100ns != 0}});
  return json{{"desktops", list}};
}

// Where its disk is on this host; "" forgets it.
Result<json> set_disk(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "desktop"));
  auto disk = call.request.find("disk");
  if (disk == call.request.end() || !disk->is_string())
    return fail(ErrorCode::invalid_argument, "the request needs a text 'disk'");
  const auto path = disk->get<std::string>();
  if (!path.empty() && path.front() != '/')
    return fail(ErrorCode::invalid_argument, "'" + path + "' is no absolute path");
  RS_TRY(auto partition, number_field_or(call.request, "partition", 0));
  if (partition > 128) return fail(ErrorCode::invalid_argument, "'partition' is a number up to 128");
  RS_CHECK(call.context.store.set_disk_of(name, path, static_cast<std::uint32_t>(partition)));
  return json{{"desktop", name}, {"disk", path}, {"partition", partition}};
}

Result<json> revoke_desktop(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "desktop"));
  RS_CHECK(call.context.store.revoke_desktop(name, now_100ns()));
  if (call.context.disconnect) call.context.disconnect(name);
  log_info("desktop '{}' revoked", name);
  return json{{"desktop", name}, {"revoked", true}};
}

// Tells it that the profile will be opened there; unavailable while it has no connection.
Result<json> prepare_desktop(const Invocation& call) {
  RS_CHECK(check_prepare(call.context, call.request));
  RS_TRY(auto name, text_field(call.request, "desktop"));
  RS_TRY(auto profile, text_field(call.request, "profile"));
  if (!call.context.sessions.is_connected(name))
    return fail(ErrorCode::unavailable, "desktop '" + name + "' has no connection; start it");
  call.context.sessions.announce(name, profile);
  return json{{"desktop", name}, {"profile", profile}, {"told", true}};
}

}  // namespace

Result<void> check_prepare(const CommandContext& context, const json& request) {
  RS_TRY(auto name, text_field(request, "desktop"));
  RS_TRY(auto profile_name, text_field(request, "profile"));
  RS_TRY(auto profile, context.repository.find_profile(profile_name));
  RS_TRY(auto desktops, context.store.desktops());
  bool enrolled = std::any_of(desktops.begin(), desktops.end(), [&](const Desktop& each) {
    return each.name == name && each.revoked_100ns == 0;
  });
  if (!enrolled) return fail(ErrorCode::not_found, "no desktop '" + name + "' is enrolled");
  RS_TRY(bool assigned, context.store.is_assigned(name, profile.id, now_100ns()));
  if (!assigned)
    return fail(ErrorCode::conflict,
                "desktop '" + name + "' may not open profile '" + profile_name + "'; assign it first");
  return {};
}

void add_desktop_commands(CommandTable& table) {
  table.add({"desktop.enroll", Role::administrator, enroll_desktop, {"desktop", "pool", "address"}});
  table.add({"desktop.list", Role::viewer, list_desktops, {}});
  table.add({"desktop.prepare", Role::operator_, prepare_desktop, {"desktop", "profile"}});
  table.add({"desktop.disk", Role::administrator, set_disk, {"desktop", "disk", "partition"}});
  table.add({"desktop.revoke", Role::administrator, revoke_desktop, {"desktop"}});
}

}  // namespace roamstead::server
