// The audit log, read and verified.
#include "coordinator/audit/audit_reader.h"
#include "coordinator/server/audit_head.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxShown = 10'000;

Result<const audit::AuditLog*> log_of(const Invocation& call) {
  if (call.context.audit == nullptr) return fail(ErrorCode::not_found, "there is no audit log here");
  return call.context.audit;
}

Result<json> show_audit(const Invocation& call) {
  RS_TRY(const auto* log, log_of(call));
  RS_CHECK(call.context.audit->flush());
  audit::Filter filter;
  RS_TRY(filter.since, text_field_or(call.request, "since", ""));
  RS_TRY(filter.desktop, text_field_or(call.request, "desktop", ""));
  RS_TRY(auto limit, number_field_or(call.request, "limit", filter.limit));
  filter.limit = static_cast<std::size_t>(std::min(limit, kMaxShown));
  RS_TRY(auto texts, audit::read(os::real_file_system(), log->directory(), filter));
  auto records = json::array();
  for (const auto& text : texts) records.push_back(json::parse(text, nullptr, false));
  return json{{"records", std::move(records)}};
}

Result<json> verify_audit(const Invocation& call) {
  RS_TRY(const auto* log, log_of(call));
  RS_CHECK(call.context.audit->flush());
  bool archived = call.request.contains("archived") && call.request["archived"] == true;
  StoredAuditHead heads(call.context.store);
  RS_TRY(auto head, heads.load());
  RS_TRY(auto found, audit::verify(os::real_file_system(), log->directory(), head, archived));
  json result{{"whole", !found.first_break.has_value()},
              {"files", found.files},
              {"records", found.records},
              {"last_record", found.last.sequence},
              {"notes", found.notes}};
  if (found.first_break)
    result["first_break"] = {{"file", os::join_path(log->directory(), found.first_break->file)},
                             {"line", found.first_break->line},
                             {"offset", found.first_break->offset},
                             {"reason", found.first_break->reason}};
  return result;
}

}  // namespace

void add_audit_commands(CommandTable& table) {
  table.add({"audit.show", Role::viewer, show_audit, {}});
  table.add({"audit.verify", Role::viewer, verify_audit, {}});
}

}  // namespace roamstead::server
