// roamstead profile rules: what of a profile roams, and when it is loaded.
#include <fmt/format.h>

#include "common/os/file.h"
#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"
#include "coordinator/config/rules_file.h"
#include "coordinator/repository/rules_report.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using repository::RuleCost;
using repository::RulesReport;

struct RulesArguments {
  RepositoryChoice choice;
  std::string profile;
  std::string pool;
  std::string set;
  bool clear = false;
  bool defaults = false;
  bool dry_run = false;
  std::string file;
  std::vector<std::string> tested;
  std::size_t versions = 100;
};

Result<std::string> read_text(const std::string& path) {
  RS_TRY(const auto bytes, os::read_file(os::real_file_system(), path, config::kMostRulesFileBytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Mistakes are told with the file's name before anything is sent.
Result<std::string> read_rules(const std::string& path) {
  RS_TRY(auto text, read_text(path));
  RS_CHECK(config::parse_rules_file(text, path).map([](const auto&) {}));
  RS_CHECK_CTX(path, config::effective_rules(text, "").map([](const auto&) {}));
  return text;
}

Result<std::string> stored_rules(const RulesArguments& arguments, const std::string& noun,
                                 const std::string& name, const Context& context) {
  const auto command = noun == "pool" ? "desktop-pool.rules.show" : "profile.rules.show";
  RS_TRY(auto result, run_command(arguments.choice, {{"command", command}, {noun, name}}, context));
  return json_text(result, "rules");
}

// Those in a file instead of the profile's (with --pool alone: instead of the pool's), or those that are
// kept.
Result<profile::Rules> rules_in_question(const RulesArguments& arguments, const Context& context) {
  std::string pool, own;
  if (!arguments.pool.empty()) {
    RS_TRY(pool, stored_rules(arguments, "pool", arguments.pool, context));
  }
  if (!arguments.file.empty()) {
    RS_TRY(own, read_rules(arguments.file));
    if (arguments.profile.empty()) pool.clear();
  } else if (!arguments.profile.empty()) {
    RS_TRY(own, stored_rules(arguments, "profile", arguments.profile, context));
  }
  return config::effective_rules(pool, own);
}

Result<void> set_rules(const RulesArguments& arguments, const Context& context) {
  const bool pool = arguments.profile.empty();
  json request{{"command", pool ? "desktop-pool.rules.set" : "profile.rules.set"}};
  request[pool ? "pool" : "profile"] = pool ? arguments.pool : arguments.profile;
  if (!arguments.clear) {
    RS_TRY(request["rules"], read_rules(arguments.set));
  }
  RS_TRY(auto result, run_command(arguments.choice, request, context));
  context.print(result, fmt::format("{} rules for {} {}; sessions that are open keep theirs",
                                    json_text(result, "count"), pool ? "pool" : "profile",
                                    pool ? arguments.pool : arguments.profile));
  return {};
}

Result<void> show_rules(const RulesArguments& arguments, const Context& context) {
  RS_TRY(const auto rules, rules_in_question(arguments, context));
  std::vector<std::vector<std::string>> rows;
  auto all = json::array();
  for (std::size_t i = 0; i < rules.all().size(); ++i) {
    const auto& rule = rules.all()[i];
    auto what = rule.value ? rule.pattern + ", value " + *rule.value : rule.pattern;
    if (rule.action == profile::RuleAction::max_size) what += " (" + human_bytes(rule.most_bytes) + ")";
    rows.push_back({std::to_string(i + 1), std::string(to_string(rule.action)), what, rule.reason});
    json one{{"rule", i + 1},
             {"action", to_string(rule.action)},
             {"pattern", rule.pattern},
             {"reason", rule.reason}};
    if (rule.value) one["value"] = *rule.value;
    if (rule.action == profile::RuleAction::max_size) one["size_bytes"] = rule.most_bytes;
    all.push_back(std::move(one));
  }
  context.print({{"rules", all}, {"hash", rules.hash()}},
                rows.empty() ? "no rules: everything roams" : table(rows));
  return {};
}

Result<void> test_rules(const RulesArguments& arguments, const Context& context) {
  RS_TRY(const auto rules, rules_in_question(arguments, context));
  auto all = json::array();
  std::string text;
  for (const auto& item : arguments.tested) {
    profile::Verdict verdict;
    constexpr std::string_view kHive = "HKCU\\";
    if (item.rfind(kHive, 0) == 0) {
      RS_TRY(const auto key, profile::KeyPath::parse(std::string_view(item).substr(kHive.size())));
      verdict = rules.key(profile::hive_paths().front(), key);
    } else {
      auto path = item;
      std::replace(path.begin(), path.end(), '\\', '/');
      RS_CHECK(profile::ProfilePath::parse(path).map([](const auto&) {}));
      verdict = rules.file(path);
    }
    json one{{"item", item},
             {"saving", to_string(verdict.saving)},
             {"loading", to_string(verdict.loading)},
             {"saving_rule", verdict.saving_rule + 1},
             {"loading_rule", verdict.loading_rule + 1}};
    if (verdict.size_rule != profile::kNoRule) one["most_bytes"] = verdict.most_bytes;
    all.push_back(std::move(one));
    text += item + ": " + rules.describe(verdict) + "\n";
  }
  context.print(all, text);
  return {};
}

json cost_json(const RuleCost& cost) { return {{"items", cost.items}, {"bytes", cost.bytes}}; }

json by_rule_json(const std::map<profile::RuleIndex, RuleCost>& by_rule) {
  auto all = json::array();
  for (const auto& [rule, cost] : by_rule)
    all.push_back({{"rule", rule + 1}, {"items", cost.items}, {"bytes", cost.bytes}});
  return all;
}

json history_json(const RulesReport& report) {
  auto versions = json::array();
  for (const auto& version : report.versions)
    versions.push_back({{"version", version.number},
                        {"saved", cost_json(version.changed)},
                        {"spared", cost_json(version.spared)},
                        {"by_rule", by_rule_json(version.by_rule)}});
  return {{"versions", versions},
          {"spared", cost_json(report.spared)},
          {"by_rule", by_rule_json(report.by_rule)},
          {"head", cost_json(report.head)},
          {"head_left_out", cost_json(report.head_left_out)},
          {"head_by_rule", by_rule_json(report.head_by_rule)},
          {"no_longer_roams", report.no_longer},
          {"too_large", report.too_large},
          {"only_at_logout", report.only_at_logout},
          {"more", report.more}};
}

std::string cost_text(const RuleCost& cost) {
  return fmt::format("{} in {} items", human_bytes(cost.bytes), cost.items);
}

std::string history_text(const RulesReport& report, const profile::Rules& rules, const std::string& profile) {
  auto text = fmt::format("In the last {} versions of {} the rules would have spared {}.\n",
                          report.versions.size(), profile, cost_text(report.spared));
  std::vector<std::vector<std::string>> rows{{"VERSION", "SAVED", "SPARED"}};
  for (const auto& version : report.versions)
    rows.push_back({std::to_string(version.number), cost_text(version.changed), cost_text(version.spared)});
  text += table(rows) + "\n";
  rows = {{"RULE", "SPARED", "OF THE HEAD"}};
  auto by_rule = report.by_rule;
  for (const auto& [rule, cost] : report.head_by_rule) by_rule.try_emplace(rule);
  for (const auto& [rule, cost] : by_rule) {
    const auto of_head = report.head_by_rule.find(rule);
    rows.push_back({rules.describe(rule), cost_text(cost),
                    cost_text(of_head == report.head_by_rule.end() ? RuleCost{} : of_head->second)});
  }
  text += table(rows) + "\n";
  text += fmt::format("Of the newest version, {}, would no longer roam: {}.\n", cost_text(report.head),
                      cost_text(report.head_left_out));
  for (const auto& name : report.no_longer) text += "  " + name + "\n";
  for (const auto& name : report.too_large) text += "  too large: " + name + "\n";
  for (const auto& name : report.only_at_logout) text += "  only at log-out: " + name + "\n";
  if (report.more) text += "  and more\n";
  return text;
}

Result<void> try_rules(const RulesArguments& arguments, const Context& context) {
  if (arguments.profile.empty())
    return fail(ErrorCode::invalid_argument, "--dry-run looks at the versions of a profile: name one");
  RS_TRY(const auto rules, rules_in_question(arguments, context));
  RS_TRY(const auto repository, open_for_reading(arguments.choice));
  RS_TRY(const auto info, repository->find_profile(arguments.profile));
  RS_TRY(const auto report, repository::report_rules(*repository, info, rules, arguments.versions));
  auto result = history_json(report);
  result["profile"] = arguments.profile;
  result["hash"] = rules.hash();
  context.print(result, history_text(report, rules, arguments.profile));
  return {};
}

Result<void> run_rules(const RulesArguments& arguments, const Context& context) {
  if (arguments.defaults) {
    context.print({{"rules", config::default_rules_text()}}, std::string(config::default_rules_text()));
    return {};
  }
  if (arguments.profile.empty() && arguments.pool.empty() && arguments.file.empty())
    return fail(ErrorCode::invalid_argument, "name a profile, or a pool by --pool");
  if (!arguments.set.empty() || arguments.clear) {
    if (!arguments.profile.empty() && !arguments.pool.empty())
      return fail(ErrorCode::invalid_argument,
                  "rules are set for a profile or for a pool, not for both at once");
    return set_rules(arguments, context);
  }
  if (arguments.dry_run) return try_rules(arguments, context);
  return arguments.tested.empty() ? show_rules(arguments, context) : test_rules(arguments, context);
}

}  // namespace

void add_profile_rules_verb(CLI::App& noun, Context& context) {
  auto arguments = std::make_shared<RulesArguments>();
  auto* verb = context.verb(noun, "rules", "What of a profile roams, and when it is loaded",
                            [arguments, &context] { return run_rules(*arguments, context); });
  arguments->choice.add_to(*verb);
  verb->add_option("profile", arguments->profile, "The profile's name");
  verb->add_option("file", arguments->file, "Rules in TOML to look at instead of those that are kept");
  verb->add_option("--pool", arguments->pool, "The pool of desktops whose rules come first");
  auto* set =
      verb->add_option("--set", arguments->set, "Keep the rules in this file (TOML) for the profile or pool");
  verb->add_flag("--clear", arguments->clear, "Keep none")->excludes(set);
  verb->add_option("--test", arguments->tested, "Say what happens to a path, or to a key HKCU\\…")
      ->allow_extra_args(false);
  verb->add_flag("--dry-run", arguments->dry_run,
                 "Say what the rules would have saved in the stored versions");
  verb->add_option("--versions", arguments->versions, "How many versions --dry-run looks at, the newest")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--defaults", arguments->defaults, "Print the rules that ship with Roamstead");
}

}  // namespace roamstead::cli
