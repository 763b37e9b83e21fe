#include "coordinator/server/command_table.h"

#include "coordinator/audit/audit_log.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

template <class Run>
Result<json> through_admin(const Invocation& call, Run run) {
  return run(call.context.repository, call.request, call.progress);
}

// As a field of a record: texts as they are, the rest as JSON, none beyond what one line should hold.
std::string recorded(const json& value) {
  constexpr std::size_t kMaxFieldBytes = 1024;
  auto text = value.is_string() ? value.get<std::string>()
                                : value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kMaxFieldBytes) text.resize(kMaxFieldBytes);
  return text;
}

audit::Record record_of(const Command& command, const Caller& caller, const json& request) {
  audit::Record record;
  record.what = command.name;
  record.who = caller.name;
  record.fields.emplace_back("origin", caller.origin);
  for (const auto& field : command.audited) {
    auto found = request.find(field);
    if (found == request.end()) continue;
    if (record.about.empty())
      record.about = field + " " + recorded(*found);
    else
      record.fields.emplace_back(field, recorded(*found));
  }
  return record;
}

Result<json> refuse(const CommandContext& context, const Command& command, const Caller& caller,
                    const json& request) {
  auto record = record_of(command, caller, request);
  record.outcome = audit::Outcome::refused;
  record.reason = "needs the role " + std::string(to_string(command.least_role));
  if (context.audit != nullptr) context.audit->append(std::move(record));
  return fail(ErrorCode::denied, "'" + command.name + "' needs the role " +
                                     std::string(to_string(command.least_role)) + "; " + caller.name +
                                     " has the role " + std::string(to_string(caller.role)));
}

Result<const Command*> permitted(const CommandContext& context, const Caller& caller, const json& request) {
  if (!request.is_object()) return fail(ErrorCode::invalid_argument, "a request is a JSON object");
  RS_TRY(auto name, text_field(request, "command"));
  const auto* command = command_table().find(name);
  if (command == nullptr) return fail(ErrorCode::invalid_argument, "no command '" + name + "'");
  if (caller.role < command->least_role) {
    RS_CHECK(refuse(context, *command, caller, request).map([](const json&) {}));
  }
  return command;
}

}  // namespace

const CommandTable& command_table() {
  static const CommandTable table = [] {
    CommandTable all;
    add_administrator_commands(all);
    add_assignment_commands(all);
    add_audit_commands(all);
    add_compose_commands(all);
    add_desktop_commands(all);
    add_group_commands(all);
    add_pool_commands(all);
    add_profile_commands(all);
    add_repository_commands(all);
    add_quota_commands(all);
    add_agent_settings_commands(all);
    add_rules_commands(all);
    add_session_commands(all);
    add_token_commands(all);
    return all;
  }();
  return table;
}

void add_profile_commands(CommandTable& table) {
  auto run = [](const Invocation& call) { return through_admin(call, admin::execute); };
  table.add({"profile.create", Role::operator_, run, {"profile"}});
  // Reads any directory of the host.
  table.add({"profile.import", Role::administrator, run, {"profile", "source"}});
  table.add({"profile.restore", Role::operator_, run, {"profile", "version"}});
  table.add({"profile.forks", Role::viewer, run, {}});
  table.add({"profile.merge", Role::operator_, run, {"profile", "fork"}});
  table.add({"profile.discard", Role::operator_, run, {"profile", "fork"}});
}

Result<void> check_role(const CommandContext& context, const Caller& caller, const json& request) {
  return permitted(context, caller, request).map([](const Command*) {});
}

Result<json> execute(const CommandContext& context, const Caller& caller, const json& request,
                     const admin::ProgressSink& progress) {
  RS_TRY(const auto* command, permitted(context, caller, request));
  const auto& name = command->name;
  auto result = command->run({context, caller, request, progress});
  if (command->audited.empty() || context.audit == nullptr) return result;
  auto record = record_of(*command, caller, request);
  if (!result) {
    record.outcome = audit::Outcome::failed;
    record.reason = result.error().to_string();
  }
  auto written = context.audit->append_durably(std::move(record));
  if (written || !result) return result;
  return fail(std::move(written).error().with("'" + name + "' was done, but could not be recorded"));
}

Result<std::string> text_field(const json& request, const char* name) {
  auto found = request.find(name);
  if (found == request.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    return fail(ErrorCode::invalid_argument, std::string("the request needs a text '") + name + "'");
  return found->get<std::string>();
}

Result<std::string> text_field_or(const json& request, const char* name, std::string otherwise) {
  if (!request.contains(name)) return otherwise;
  return text_field(request, name);
}

Result<std::uint64_t> number_field_or(const json& request, const char* name, std::uint64_t otherwise) {
  auto found = request.find(name);
  if (found == request.end()) return otherwise;
  if (!found->is_number_integer() || (!found->is_number_unsigned() && found->get<std::int64_t>() < 0))
    return fail(ErrorCode::invalid_argument, std::string("'") + name + "' is a number");
  return found->get<std::uint64_t>();
}

}  // namespace roamstead::server
