// roamstead token, group, rule, desktop-pool, audit: how desktops get in, what they may open, and the record
// of it all.
#include <fmt/format.h>

#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"
#include "coordinator/config/agent_settings_file.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct AccessArguments {
  RepositoryChoice choice;
  std::string pool, group, profile, desktop, policy, quota, until, life = "24h", out, address, since, id;
  std::uint64_t uses = 1;
  std::uint64_t limit = 200;
  std::string set;
  bool archived = false, clear = false;
};

Result<json> ask(const AccessArguments& arguments, const Context& context, json request) {
  return run_command(arguments.choice, request, context);
}

// ---- tokens

// The answer's secret goes into a file for its owner alone, or, without one, to the terminal, once.
Result<void> create_token(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto life, parse_duration_seconds(arguments.life));
  json request{{"command", "token.create"}, {"uses", arguments.uses}, {"life_s", life}};
  if (!arguments.pool.empty()) request["pool"] = arguments.pool;
  auto& files = os::real_file_system();
  if (!arguments.out.empty()) {
    RS_TRY(bool there, files.exists(arguments.out));
    if (there) return fail(ErrorCode::exists, arguments.out + ": is there already");
  }
  RS_TRY(auto made, ask(arguments, context, std::move(request)));
  if (!arguments.address.empty()) made["coordinator"] = arguments.address;
  auto what = fmt::format("token {}: {} enrolments into pool '{}' until {}", json_text(made, "id"),
                          json_text(made, "uses"), json_text(made, "pool"),
                          json_time(made.value("expires_100ns", json())));
  if (arguments.out.empty()) {
    context.print(made, what + "\n" + json_text(made, "token") +
                            "\nIt is not shown again. With --out FILE it is written to a file that "
                            "'roamstead-desktops enroll --token-file' takes.");
    return {};
  }
  json file{{"coordinator", made["coordinator"]}, {"token", made["token"]}, {"ca_pem", made["ca_pem"]}};
  RS_CHECK_CTX("token " + json_text(made, "id") + " was made, but not written; revoke it",
               os::write_file_durably(files, arguments.out, as_bytes(file.dump(2) + "\n")));
  made.erase("token");
  made["file"] = arguments.out;
  context.print(made, what + "; written to " + arguments.out);
  return {};
}

Result<void> list_tokens(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result, ask(arguments, context, {{"command", "token.list"}}));
  std::vector<std::vector<std::string>> rows{{"TOKEN", "POOL", "USES LEFT", "EXPIRES", "STATE", "MADE BY"}};
  for (const auto& token : json_list(result, "tokens"))
    rows.push_back({json_text(token, "id"), json_text(token, "pool"),
                    json_text(token, "uses_left") + " of " + json_text(token, "uses"),
                    json_time(token.value("expires_100ns", json())), json_text(token, "state"),
                    json_text(token, "created_by")});
  context.print(result, table(rows));
  return {};
}

Result<void> revoke_token(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result, ask(arguments, context, {{"command", "token.revoke"}, {"id", arguments.id}}));
  context.print(result, "token " + arguments.id + " revoked; desktops that used it stay enrolled");
  return {};
}

// ---- groups and rules

Result<void> change_group(const AccessArguments& arguments, const Context& context, const char* command,
                          const std::string& done) {
  json request{{"command", command}, {"group", arguments.group}};
  if (!arguments.profile.empty()) request["profile"] = arguments.profile;
  RS_TRY(auto result, ask(arguments, context, std::move(request)));
  context.print(result, done);
  return {};
}

Result<void> list_groups(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result, ask(arguments, context, {{"command", "group.list"}}));
  std::vector<std::vector<std::string>> rows{{"GROUP", "PROFILES", "OPEN TO POOLS"}};
  for (const auto& group : json_list(result, "groups")) {
    std::string profiles, pools;
    for (const auto& profile : json_list(group, "profiles"))
      profiles += (profiles.empty() ? "" : ", ") + profile.get<std::string>();
    for (const auto& rule : json_list(group, "pools")) {
      pools += (pools.empty() ? "" : ", ") + json_text(rule, "pool");
      auto until = rule.value("until_100ns", json());
      if (until != 0) pools += " (until " + json_time(until) + ")";
    }
    rows.push_back(
        {json_text(group, "group"), profiles.empty() ? "-" : profiles, pools.empty() ? "-" : pools});
  }
  context.print(result, table(rows));
  return {};
}

Result<void> add_rule(const AccessArguments& arguments, const Context& context) {
  json request{{"command", "rule.add"}, {"pool", arguments.pool}, {"group", arguments.group}};
  RS_CHECK(put_end(request, arguments.until));
  RS_TRY(auto result, ask(arguments, context, std::move(request)));
  context.print(result, fmt::format("desktops of pool {} may open the profiles of group {}", arguments.pool,
                                    arguments.group));
  return {};
}

Result<void> remove_rule(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result,
         ask(arguments, context,
             {{"command", "rule.remove"}, {"pool", arguments.pool}, {"group", arguments.group}}));
  context.print(result, fmt::format("desktops of pool {} may no longer open the profiles of group {} by rule",
                                    arguments.pool, arguments.group));
  return {};
}

// ---- pools of desktops

Result<void> describe_pool(const AccessArguments& arguments, const Context& context, const char* command) {
  json request{{"command", command}, {"pool", arguments.pool}};
  if (!arguments.policy.empty()) request["session_policy"] = arguments.policy;
  if (!arguments.quota.empty()) {
    RS_TRY(request["quota_bytes"], parse_quota(arguments.quota));
  }
  RS_TRY(auto result, ask(arguments, context, std::move(request)));
  auto quota = result.value("quota_bytes", std::uint64_t{0});
  context.print(result, fmt::format("pool {}: second log-in {}, quota of a profile {}", arguments.pool,
                                    json_text(result, "session_policy"), quota_shown(quota)));
  return {};
}

Result<void> list_pools(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result, ask(arguments, context, {{"command", "desktop-pool.list"}}));
  std::vector<std::vector<std::string>> rows{{"POOL", "SECOND LOG-IN", "QUOTA"}};
  for (const auto& pool : json_list(result, "pools"))
    rows.push_back({json_text(pool, "pool"), json_text(pool, "session_policy"),
                    quota_shown(pool.value("quota_bytes", std::uint64_t{0}))});
  context.print(result, table(rows));
  return {};
}

// Mistakes are told with the file's name before anything is sent.
Result<void> set_or_show_settings(const AccessArguments& arguments, const Context& context) {
  const bool changes = !arguments.set.empty() || arguments.clear;
  json request{{"command", changes ? "desktop-pool.settings.set" : "desktop-pool.settings.show"},
               {"pool", arguments.pool}};
  if (!arguments.set.empty()) {
    RS_TRY(const auto bytes,
           os::read_file(os::real_file_system(), arguments.set, config::kMostSettingsFileBytes));
    const std::string text(as_text(bytes));
    RS_CHECK(config::parse_agent_settings(text, arguments.set).map([](const auto&) {}));
    request["text"] = text;
  }
  RS_TRY(auto result, ask(arguments, context, std::move(request)));
  std::vector<std::vector<std::string>> rows;
  for (const auto& each : json_list(result, "settings"))
    rows.push_back({json_text(each, "name"), json_text(each, "value")});
  context.print(result, rows.empty() ? "pool " + arguments.pool + " sets nothing of its desktops' agents"
                                     : table(rows));
  return {};
}

Result<void> move_desktop(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result,
         ask(arguments, context,
             {{"command", "desktop-pool.move"}, {"desktop", arguments.desktop}, {"pool", arguments.pool}}));
  context.print(result, "desktop " + arguments.desktop + " is in pool " + arguments.pool);
  return {};
}

// ---- the audit log

std::string record_line(const json& record) {
  auto line = fmt::format("{:>6}  {}  {:<8} {:<20} {}  {}", json_text(record, "seq"),
                          json_text(record, "time"), json_text(record, "outcome"), json_text(record, "what"),
                          json_text(record, "who"), json_text(record, "about"));
  if (record.contains("reason")) line += ": " + json_text(record, "reason");
  if (auto fields = record.find("fields"); fields != record.end() && fields->is_object())
    for (const auto& [name, value] : fields->items())
      line += fmt::format("  {}={}", name, value.is_string() ? value.get<std::string>() : value.dump());
  // One line each, whatever a desktop called itself.
  for (auto& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return line + "\n";
}

Result<void> show_audit(const AccessArguments& arguments, const Context& context) {
  json request{{"command", "audit.show"}, {"limit", arguments.limit}};
  if (!arguments.since.empty()) request["since"] = arguments.since;
  if (!arguments.desktop.empty()) request["desktop"] = arguments.desktop;
  RS_TRY(auto result, ask(arguments, context, std::move(request)));
  std::string text;
  for (const auto& record : json_list(result, "records")) text += record_line(record);
  context.print(result, text.empty() ? "nothing recorded" : text);
  return {};
}

Result<void> verify_audit(const AccessArguments& arguments, const Context& context) {
  RS_TRY(auto result,
         ask(arguments, context, {{"command", "audit.verify"}, {"archived", arguments.archived}}));
  auto text = fmt::format("{} records in {} files", json_text(result, "records"), json_text(result, "files"));
  for (const auto& note : json_list(result, "notes")) text += "\nnote: " + note.get<std::string>();
  auto found = result.find("first_break");
  if (found == result.end()) {
    context.print(result, text + "\nthe chain is whole");
    return {};
  }
  auto where = json_text(*found, "file");
  if (found->value("line", std::uint64_t{0}) != 0)
    where += ", line " + json_text(*found, "line") + ", offset " + json_text(*found, "offset");
  context.print(result, text);
  return fail(ErrorCode::corrupt, "the audit log was changed: " + where + ": " + json_text(*found, "reason"));
}

}  // namespace

void add_access_verbs(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<AccessArguments>();  // shared by the verbs, of which one runs
  auto verb = [&](CLI::App& noun, const char* name, const char* description, auto action) {
    auto* added = context.verb(noun, name, description,
                               [arguments, &context, action] { return action(*arguments, context); });
    arguments->choice.add_to(*added);
    return added;
  };
  auto noun = [&](const char* name, const char* description) {
    auto* added = app.add_subcommand(name, description);
    added->require_subcommand(1);
    return added;
  };
  auto required = [](CLI::App* added, const char* name, std::string& value, const char* description) {
    added->add_option(name, value, description)->required();
  };

  auto* token = noun("token", "Tokens by which desktops enrol themselves");
  auto* creating = verb(*token, "create", "Make a token; it is shown once", create_token);
  creating->add_option("--pool", arguments->pool, "The pool its desktops come into (default: default)");
  creating->add_option("--uses", arguments->uses, "So many desktops may use it")->capture_default_str();
  creating->add_option("--expires", arguments->life, "After so long it is no good: 30m, 24h, 7d")
      ->capture_default_str();
  creating->add_option("--out", arguments->out, "A file for token, address and CA certificate");
  creating->add_option("--address", arguments->address, "host:port where desktops find the coordinator");
  verb(*token, "list", "Tokens, without their secrets", list_tokens);
  required(verb(*token, "revoke", "Let nobody use a token any more", revoke_token), "id", arguments->id,
           "As 'token list' shows it");

  auto* group = noun("group", "Named lists of profiles");
  auto change = [&](const char* name, const char* description, const char* command, const char* done,
                    bool member) {
    auto* added = verb(*group, name, description, [command, done](const auto& given, const auto& shown) {
      return change_group(given, shown, command, done + given.group);
    });
    required(added, "group", arguments->group, "The group's name");
    if (member) required(added, "profile", arguments->profile, "The profile's name");
  };
  change("create", "Make an empty group", "group.create", "made group ", false);
  change("delete", "Forget a group and its rules", "group.delete", "deleted group ", false);
  change("add", "Put a profile into a group", "group.add", "added to group ", true);
  change("remove", "Take a profile out of a group", "group.remove", "removed from group ", true);
  verb(*group, "list", "Groups, their profiles, and which pools may open them", list_groups);

  auto* rule = noun("rule", "Which pools' desktops may open which groups' profiles");
  auto* adding = verb(*rule, "add", "Let a pool's desktops open a group's profiles", add_rule);
  auto* removing = verb(*rule, "remove", "Let them no more", remove_rule);
  for (auto* each : {adding, removing}) {
    required(each, "pool", arguments->pool, "The pool's name");
    required(each, "group", arguments->group, "The group's name");
  }
  adding->add_option("--until", arguments->until, "When that ends: 2026-12-31, 2026-12-31T18:00, 8h, 30d");

  auto* pool = noun("desktop-pool", "Desktops that are treated alike");
  for (const char* name : {"create", "set"}) {
    auto command = std::string("desktop-pool.") + name;
    auto* added = verb(*pool, name, *name == 'c' ? "Make a pool" : "Change what holds for a pool",
                       [command](const auto& given, const auto& shown) {
                         return describe_pool(given, shown, command.c_str());
                       });
    required(added, "pool", arguments->pool, "The pool's name");
    added->add_option("--session-policy", arguments->policy,
                      "A second log-in elsewhere: takeover, refuse, read-only or concurrent");
    added->add_option("--quota", arguments->quota, "What a profile may hold: 20GiB, or none");
  }
  verb(*pool, "list", "All pools", list_pools);
  auto* setting =
      verb(*pool, "settings", "What the agents of a pool's desktops are set to", set_or_show_settings);
  required(setting, "pool", arguments->pool, "The pool's name");
  auto* file =
      setting->add_option("--set", arguments->set, "Send what this file (TOML, [agent.settings]) says");
  setting->add_flag("--clear", arguments->clear, "Send nothing")->excludes(file);
  auto* moving = verb(*pool, "move", "Put a desktop into a pool", move_desktop);
  required(moving, "desktop", arguments->desktop, "The desktop's name");
  required(moving, "pool", arguments->pool, "The pool's name");

  auto* audit = noun("audit", "The record of who did and tried what");
  auto* showing = verb(*audit, "show", "The latest records", show_audit);
  showing->add_option("--since", arguments->since,
                      "Not before this time (UTC): 2026-12-31 or 2026-12-31T18:00");
  showing->add_option("--desktop", arguments->desktop, "What this desktop did and what was done with it");
  showing->add_option("--limit", arguments->limit, "The latest so many")->capture_default_str();
  verb(*audit, "verify", "Is the record as it was written?", verify_audit)
      ->add_flag("--archived", arguments->archived, "The oldest files were moved elsewhere");
}

}  // namespace roamstead::cli
