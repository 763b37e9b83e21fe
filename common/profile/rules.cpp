#include "common/profile/rules.h"

#include <algorithm>

#include "common/base/sha256.h"
#include "common/base/text.h"

namespace roamstead::profile {
namespace {

constexpr std::string_view kHeading = "roamstead-rules 1";

// The path of a key as HKCU shows it, upcased.
std::vector<std::u16string> names_in_hkcu(const ProfilePath& hive, const KeyPath& key) {
  std::vector<std::u16string> names;
  if (!same_name(hive.text(), hive_paths().front().text())) names = {u"SOFTWARE", u"CLASSES"};
  for (const auto name : key.components()) names.push_back(upcase_key(name));
  return names;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

std::string_view to_string(Saving saving) {
  switch (saving) {
    case Saving::roams:
      return "roams";
    case Saving::excluded:
      return "excluded";
    case Saving::local_only:
      return "local-only";
    case Saving::at_logout:
      return "at-logout";
  }
  return "unknown";
}

std::string_view to_string(Loading loading) {
  switch (loading) {
    case Loading::background:
      return "background";
    case Loading::preload:
      return "preload";
    case Loading::on_demand:
      return "on-demand";
  }
  return "unknown";
}

Rules::Rules() = default;

Result<void> Rules::add(const Rule& rule, RuleIndex index) {
  if (rule.action == RuleAction::exclude_process) {
    if (processes_.size() >= kMostSearchedGlobs)
      return fail(ErrorCode::unsupported,
                  "more than " + std::to_string(kMostSearchedGlobs) + " excluded processes");
    RS_TRY(auto glob, NameGlob::parse(rule.pattern));
    processes_.push_back(std::move(glob));
    return {};
  }
  auto aspect = Aspect::saving;
  std::vector<Hint> hints;
  switch (rule.action) {
    case RuleAction::at_logout:
      hints = {Hint::saved, Hint::at_logout};
      break;
    case RuleAction::include:
      hints = {Hint::saved};
      break;
    case RuleAction::preload:
      aspect = Aspect::loading;
      hints = {Hint::preloaded, Hint::loaded};
      break;
    case RuleAction::background:
      aspect = Aspect::loading;
      hints = {Hint::loaded};
      break;
    case RuleAction::on_demand:
      aspect = Aspect::loading;
      break;
    case RuleAction::max_size:
      aspect = Aspect::size;
      break;
    case RuleAction::exclude:
    case RuleAction::local_only:
    case RuleAction::exclude_process:
      break;
  }
  RS_TRY(const auto patterns, pattern_names(rule));
  auto& trie = rule.is_registry() ? keys_ : files_;
  registry_rules_ += rule.is_registry() ? 1 : 0;
  for (const auto& names : patterns) {
    if (rule.value)
      RS_CHECK(trie.add_value(names, *rule.value, index, hints));
    else
      RS_CHECK(trie.add(names, aspect, index, hints));
  }
  return {};
}

Result<Rules> Rules::make(std::vector<Rule> rules, std::size_t* failed) {
  if (rules.size() > kMostRules)
    return fail(ErrorCode::unsupported, "more than " + std::to_string(kMostRules) + " rules");
  Rules made;
  if (rules.empty()) return made;
  made.canonical_ = std::string(kHeading) + "\n";
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (failed != nullptr) *failed = i;
    auto rule = normalise_rule(std::move(rules[i]));
    if (rule)
      if (auto added = made.add(*rule, static_cast<RuleIndex>(i)); !added)
        rule = fail(std::move(added).error());
    if (!rule) return fail(std::move(rule).error().with("rule " + std::to_string(i + 1)));
    made.canonical_ += canonical_line(*rule);
    if (made.canonical_.size() > kMostRulesBytes)
      return fail(ErrorCode::unsupported, "rules of more than " + std::to_string(kMostRulesBytes) + " bytes");
    made.rules_.push_back(std::move(*rule));
  }
  // Hives roam whatever is said of the files around them.
  const auto own = static_cast<RuleIndex>(made.rules_.size());
  for (const auto& hive : hive_paths()) {
    std::vector<std::string> names;
    for (const auto name : hive.components()) names.emplace_back(name);
    RS_CHECK(made.files_.add(names, Aspect::saving, own, {Hint::saved}));
  }
  return made;
}

Result<Rules> Rules::parse(std::string_view canonical) {
  if (canonical.empty()) return Rules();
  const auto corrupt = [](std::size_t line, const std::string& why) {
    return fail(ErrorCode::corrupt, "rules, line " + std::to_string(line) + ": " + why);
  };
  if (canonical.size() > kMostRulesBytes)
    return corrupt(1, "more than " + std::to_string(kMostRulesBytes) + " bytes");
  if (canonical.back() != '\n') return corrupt(1, "the last line has no end");
  const auto lines = lines_of(canonical);
  if (lines.front() != kHeading) return corrupt(1, "not the heading '" + std::string(kHeading) + "'");
  if (lines.size() > kMostRules + 1) return corrupt(kMostRules + 2, "too many rules");
  std::vector<Rule> rules;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    auto rule = parse_canonical_line(lines[i]);
    if (!rule) return corrupt(i + 1, rule.error().message);
    rules.push_back(std::move(*rule));
  }
  std::size_t failed = 0;
  auto made = make(std::move(rules), &failed);
  if (!made) return corrupt(failed + 2, made.error().to_string());
  return made;
}

std::string Rules::hash() const {
  if (canonical_.empty()) return "";
  const auto digest =
      sha256(ByteView(reinterpret_cast<const std::byte*>(canonical_.data()), canonical_.size()));
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const auto byte : digest) {
    text += kDigits[static_cast<std::size_t>(byte) >> 4];
    text += kDigits[static_cast<std::size_t>(byte) & 15];
  }
  return text;
}

Verdict Rules::verdict_of(const RuleTrie::Walk& walk) const {
  Verdict verdict;
  verdict.saving_rule = walk.rule(Aspect::saving);
  verdict.loading_rule = walk.rule(Aspect::loading);
  verdict.size_rule = walk.rule(Aspect::size);
  const auto action = [&](RuleIndex rule) { return rules_[static_cast<std::size_t>(rule)].action; };
  if (verdict.saving_rule != kNoRule && !is_hive_rule(verdict.saving_rule))
    switch (action(verdict.saving_rule)) {
      case RuleAction::exclude:
        verdict.saving = Saving::excluded;
        break;
      case RuleAction::local_only:
        verdict.saving = Saving::local_only;
        break;
      case RuleAction::at_logout:
        verdict.saving = Saving::at_logout;
        break;
      default:
        break;
    }
  if (verdict.loading_rule != kNoRule) {
    const auto loading = action(verdict.loading_rule);
    verdict.loading = loading == RuleAction::preload     ? Loading::preload
                      : loading == RuleAction::on_demand ? Loading::on_demand
                                                         : Loading::background;
  }
  if (verdict.size_rule != kNoRule)
    verdict.most_bytes = rules_[static_cast<std::size_t>(verdict.size_rule)].most_bytes;
  return verdict;
}

RuleTrie::Walk Rules::walk_file(std::string_view path) const {
  auto walk = files_.start();
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    files_.step(walk, upcase_key(path.substr(0, slash)));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return walk;
}

RuleTrie::Walk Rules::walk_key(const ProfilePath& hive, const KeyPath& key) const {
  auto walk = keys_.start();
  for (const auto& name : names_in_hkcu(hive, key)) keys_.step(walk, name);
  return walk;
}

Verdict Rules::file(std::string_view path) const { return empty() ? Verdict{} : verdict_of(walk_file(path)); }

bool Rules::leads_to_saved(std::string_view path) const {
  if (empty()) return false;
  const auto walk = walk_file(path);
  return walk.below(files_, Hint::saved) > walk.rule(Aspect::saving);
}

bool Rules::leads_to_logout(std::string_view path) const {
  if (empty()) return false;
  const auto walk = walk_file(path);
  return verdict_of(walk).saving == Saving::at_logout ||
         walk.below(files_, Hint::at_logout) > walk.rule(Aspect::saving);
}

bool Rules::preloads_below(std::string_view path) const {
  if (empty()) return false;
  const auto walk = walk_file(path);
  return verdict_of(walk).loading == Loading::preload ||
         walk.below(files_, Hint::preloaded) > walk.rule(Aspect::loading);
}

bool Rules::loads_below(std::string_view path) const {
  if (empty()) return true;
  const auto walk = walk_file(path);
  return verdict_of(walk).loading != Loading::on_demand ||
         walk.below(files_, Hint::loaded) > walk.rule(Aspect::loading);
}

bool Rules::same_below(std::string_view path, std::string_view other) const {
  return empty() || walk_file(path) == walk_file(other);
}

bool Rules::shows_folder(std::string_view path) const {
  if (empty()) return true;
  const auto walk = walk_file(path);
  return !verdict_of(walk).is_left_out() || walk.below(files_, Hint::saved) > walk.rule(Aspect::saving);
}

Verdict Rules::key(const ProfilePath& hive, const KeyPath& key) const {
  return empty() ? Verdict{} : verdict_of(walk_key(hive, key));
}

Verdict Rules::value(const ProfilePath& hive, const KeyPath& key, std::string_view name) const {
  if (empty()) return {};
  const auto walk = walk_key(hive, key);
  auto verdict = verdict_of(walk);
  const auto own = walk.value(keys_, upcase_key(name));
  if (own <= verdict.saving_rule) return verdict;
  verdict.saving_rule = own;
  const auto action = rules_[static_cast<std::size_t>(own)].action;
  verdict.saving = action == RuleAction::exclude      ? Saving::excluded
                   : action == RuleAction::local_only ? Saving::local_only
                   : action == RuleAction::at_logout  ? Saving::at_logout
                                                      : Saving::roams;
  return verdict;
}

bool Rules::shows_key(const ProfilePath& hive, const KeyPath& key) const {
  if (empty() || key.is_root()) return true;
  const auto walk = walk_key(hive, key);
  return !verdict_of(walk).is_left_out() || walk.below(keys_, Hint::saved) > walk.rule(Aspect::saving);
}

bool Rules::leads_to_saved(const ProfilePath& hive, const KeyPath& key) const {
  if (empty()) return false;
  const auto walk = walk_key(hive, key);
  return walk.below(keys_, Hint::saved) > walk.rule(Aspect::saving);
}

bool Rules::process_excluded(std::string_view name) const {
  if (processes_.empty()) return false;
  const auto upcased = upcase_key(name);
  return std::any_of(processes_.begin(), processes_.end(),
                     [&](const auto& glob) { return glob.matches(upcased); });
}

bool Rules::has(RuleAction action) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) { return rule.action == action; });
}

std::string Rules::describe(RuleIndex index) const {
  if (index == kNoRule) return "no rule";
  if (is_hive_rule(index)) return "the user's registry: rules of files are not about it";
  const auto& rule = rules_[static_cast<std::size_t>(index)];
  auto text =
      "rule " + std::to_string(index + 1) + ", " + std::string(to_string(rule.action)) + " " + rule.pattern;
  if (rule.value) text += ", value " + *rule.value;
  return rule.reason.empty() ? text : text + " (" + rule.reason + ")";
}

std::string Rules::describe(const Verdict& verdict) const {
  std::string text = verdict.saving == Saving::roams       ? "saved"
                     : verdict.saving == Saving::at_logout ? "saved at log-out"
                                                           : "not saved";
  text += ": " + describe(verdict.saving_rule);
  text += "; loaded " + (verdict.loading == Loading::preload     ? std::string("before programs run")
                         : verdict.loading == Loading::on_demand ? std::string("when it is touched")
                                                                 : std::string("in the background"));
  if (verdict.loading_rule != kNoRule) text += ": " + describe(verdict.loading_rule);
  if (verdict.most_bytes != kAnySize)
    text += "; at most " + std::to_string(verdict.most_bytes) + " bytes: " + describe(verdict.size_rule);
  return text;
}

}  // namespace roamstead::profile
