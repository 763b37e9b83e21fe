// The commands that administrators may give, in one table: name, the least role that may, what runs, and
// what of the request goes into the audit log. Each part of the coordinator adds its own from a file of its
// own (desktop_commands.cpp, session_commands.cpp ...).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/server/caller.h"
#include "coordinator/server/commands.h"

namespace roamstead::server {

struct Invocation {
  const CommandContext& context;
  const Caller& caller;
  const nlohmann::json& request;  // an object; its fields are foreign input
  const admin::ProgressSink& progress;
};

struct Command {
  std::string name;  // "desktop.revoke"
  Role least_role = Role::administrator;
  Result<nlohmann::json> (*run)(const Invocation& call) = nullptr;
  // The request's fields that are recorded, the first saying what it is about; none: the command only looks,
  // and is not recorded. Never name a field that holds a secret.
  std::vector<std::string> audited;
};

class CommandTable {
 public:
  void add(Command command) { commands_[command.name] = std::move(command); }
  const Command* find(const std::string& name) const {
    auto found = commands_.find(name);
    return found == commands_.end() ? nullptr : &found->second;
  }
  const std::map<std::string, Command>& commands() const { return commands_; }

 private:
  std::map<std::string, Command> commands_;
};

// All of them; made at the first call.
const CommandTable& command_table();

void add_administrator_commands(CommandTable& table);
void add_assignment_commands(CommandTable& table);
void add_audit_commands(CommandTable& table);
void add_compose_commands(CommandTable& table);  // images, pools, clones
void add_desktop_commands(CommandTable& table);
void add_group_commands(CommandTable& table);
void add_pool_commands(CommandTable& table);
void add_profile_commands(CommandTable& table);  // those of coordinator/admin/commands.h
void add_repository_commands(CommandTable& table);
void add_quota_commands(CommandTable& table);  // profile.quota, profile.show
void add_agent_settings_commands(CommandTable& table);
void add_rules_commands(CommandTable& table);  // of what roams
void add_session_commands(CommandTable& table);
void add_token_commands(CommandTable& table);

// Fields of requests. ErrorCode::invalid_argument names the field that is missing or of another kind.
Result<std::string> text_field(const nlohmann::json& request, const char* name);
// `otherwise` when it is missing.
Result<std::string> text_field_or(const nlohmann::json& request, const char* name, std::string otherwise);
Result<std::uint64_t> number_field_or(const nlohmann::json& request, const char* name,
                                      std::uint64_t otherwise);
// "until_100ns", which must be to come; 0 when it is missing: no end.
Result<std::uint64_t> end_field(const nlohmann::json& request);

}  // namespace roamstead::server
