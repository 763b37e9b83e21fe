// Desktops: enrolment by an administrator, revocation, listing.
#include "coordinator/server/command_table.h"

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
                    {"revoked", desktop.revoked_100ns != 0}});
  return json{{"desktops", list}};
}

Result<json> revoke_desktop(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "desktop"));
  RS_CHECK(call.context.store.revoke_desktop(name, now_100ns()));
  if (call.context.disconnect) call.context.disconnect(name);
  log_info("desktop '{}' revoked", name);
  return json{{"desktop", name}, {"revoked", true}};
}

}  // namespace

void add_desktop_commands(CommandTable& table) {
  table.add({"desktop.enroll", Role::administrator, enroll_desktop, {"desktop", "pool", "address"}});
  table.add({"desktop.list", Role::viewer, list_desktops, {}});
  table.add({"desktop.revoke", Role::administrator, revoke_desktop, {"desktop"}});
}

}  // namespace roamstead::server
