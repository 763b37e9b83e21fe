#include "coordinator/repository/rules_report.h"

#include <algorithm>

namespace roamstead::repository {
namespace {

using profile::EntryKind;
using profile::ProfilePath;
using profile::RuleIndex;
using profile::Rules;

constexpr std::size_t kListAtOnce = 1000;
constexpr std::size_t kKeyBytesAtOnce = 256u << 10;

std::uint64_t bytes_of(const profile::Entry& entry) {
  auto bytes = entry.size_bytes;
  for (const auto& stream : entry.streams) bytes += stream.size_bytes;
  return bytes;
}

void count(RuleCost& cost, std::uint64_t bytes) {
  ++cost.items;
  cost.bytes += bytes;
}

// The rule by which the item would not have been saved; none: it would.
std::optional<RuleIndex> leaving_out(const Rules& rules, const ProfilePath& path,
                                     const profile::Entry& entry) {
  if (path.is_root() || entry.kind == EntryKind::registry) return std::nullopt;
  const auto verdict = rules.file(path.text());
  if (verdict.is_left_out() && !(entry.is_directory() && rules.shows_folder(path.text())))
    return verdict.saving_rule;
  if (entry.size_bytes > verdict.most_bytes) return verdict.size_rule;
  return std::nullopt;
}

class Reporter {
 public:
  Reporter(const Rules& rules, RulesReport& report) : rules_(rules), report_(report) {}

  Result<void> version(const Tree& before, const Tree& after, std::uint64_t number) {
    RulesReport::Version version;
    version.number = number;
    std::vector<ProfilePath> hives;
    RS_CHECK(
        before.diff(after, [&](Tree::Change change, const ProfilePath& path, const profile::Entry& entry) {
          if (entry.kind == EntryKind::registry && change == Tree::Change::changed) hives.push_back(path);
          const auto bytes = change == Tree::Change::removed ? 0 : bytes_of(entry);
          note(version, leaving_out(rules_, path, entry), bytes);
        }));
    for (const auto& hive : hives)
      RS_CHECK(before.diff_keys(after, hive, [&](const Tree::KeyDifference& difference) {
        const auto* value = difference.value_after;
        const bool is_value = difference.is_value();
        const auto& name = value != nullptr ? *value
                           : is_value       ? *difference.value_before
                                            : profile::RegistryValue{};
        const auto verdict =
            is_value ? rules_.value(hive, difference.key, name.name) : rules_.key(hive, difference.key);
        const bool out = verdict.is_left_out() && (is_value || !rules_.shows_key(hive, difference.key));
        note(version, out ? std::optional(verdict.saving_rule) : std::nullopt,
             value == nullptr ? 0 : value->size_bytes);
      }));
    report_.spared.items += version.spared.items;
    report_.spared.bytes += version.spared.bytes;
    report_.versions.push_back(std::move(version));
    return {};
  }

  Result<void> head(const Tree& tree) {
    std::vector<std::pair<ProfilePath, bool>> folders{
        {ProfilePath(), false}};  // and whether one above is named
    while (!folders.empty()) {
      const auto [folder, named] = std::move(folders.back());
      folders.pop_back();
      for (std::string after;;) {
        RS_TRY(const auto part, tree.list(folder, after, kListAtOnce));
        for (const auto& child : part) {
          const auto path = folder.child(child.name);
          const auto rule = leaving_out(rules_, path, child.entry);
          note_head(rule, bytes_of(child.entry));
          const auto verdict = rules_.file(path.text());
          if (rule && *rule == verdict.size_rule && !verdict.is_left_out())
            name(report_.too_large, path.text());
          else if (rule && !named)
            name(report_.no_longer, path.text() + (child.entry.is_directory() ? "/" : ""));
          else if (!rule && verdict.saving == profile::Saving::at_logout && !child.entry.is_directory())
            name(report_.only_at_logout, path.text());
          if (child.entry.is_directory()) folders.emplace_back(path, named || rule.has_value());
          if (child.entry.kind == EntryKind::registry) RS_CHECK(head_keys(tree, path));
        }
        if (part.size() < kListAtOnce) break;
        after = part.back().name;
      }
    }
    return {};
  }

 private:
  void note(RulesReport::Version& version, const std::optional<RuleIndex>& rule, std::uint64_t bytes) {
    count(version.changed, bytes);
    if (!rule) return;
    count(version.spared, bytes);
    count(version.by_rule[*rule], bytes);
    count(report_.by_rule[*rule], bytes);
  }
  void note_head(const std::optional<RuleIndex>& rule, std::uint64_t bytes) {
    count(report_.head, bytes);
    if (!rule) return;
    count(report_.head_left_out, bytes);
    count(report_.head_by_rule[*rule], bytes);
  }
  void name(std::vector<std::string>& names, std::string text) {
    if (names.size() < RulesReport::kMostNamed)
      names.push_back(std::move(text));
    else
      report_.more = true;
  }

  Result<void> head_keys(const Tree& tree, const ProfilePath& hive) {
    for (std::string cursor;;) {
      RS_TRY(const auto states, tree.keys(hive, {}, profile::KeyScope::subtree, cursor, kKeyBytesAtOnce));
      for (const auto& key : states.keys) {
        const auto verdict = rules_.key(hive, key.path);
        const bool out = !rules_.shows_key(hive, key.path);
        note_head(out ? std::optional(verdict.saving_rule) : std::nullopt, 0);
        if (out && rules_.shows_key(hive, key.path.parent()))
          name(report_.no_longer, hive.text() + "\\" + key.path.text());
        for (const auto& value : key.values) {
          const auto of_value = rules_.value(hive, key.path, value.name);
          note_head(of_value.is_left_out() ? std::optional(of_value.saving_rule) : std::nullopt,
                    value.size_bytes);
          if (of_value.is_left_out() && !out)
            name(report_.no_longer, hive.text() + "\\" + key.path.text() + ": " +
                                        (value.name.empty() ? "(default)" : value.name));
        }
      }
      if (states.next.empty()) return {};
      if (states.next == cursor)
        return fail(ErrorCode::corrupt, hive.text() + ": its keys are listed in a circle");
      cursor = states.next;
    }
  }

  const Rules& rules_;
  RulesReport& report_;
};

}  // namespace

Result<RulesReport> report_rules(const Repository& repository, const ProfileInfo& profile, const Rules& rules,
                                 std::size_t most_versions) {
  RS_TRY(auto versions, repository.versions(profile.id));
  std::erase_if(versions, [](const VersionInfo& version) { return !version.on_head_line; });
  std::sort(versions.begin(), versions.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  if (versions.size() > most_versions)
    versions.erase(versions.begin(), versions.end() - static_cast<std::ptrdiff_t>(most_versions));
  RulesReport report;
  Reporter reporter(rules, report);
  for (const auto& version : versions) {
    RS_TRY(const auto after, repository.tree(profile.id, version.number));
    auto before = repository.tree(profile.id, version.parent);
    // One whose parent is kept no longer tells nothing of what was saved by it.
    if (!before && before.error().code == ErrorCode::not_found) continue;
    if (!before) return fail(std::move(before).error());
    RS_CHECK(reporter.version(**before, *after, version.number));
  }
  RS_TRY(const auto head, repository.tree(profile.id, profile.head));
  RS_CHECK(reporter.head(*head));
  return report;
}

}  // namespace roamstead::repository
