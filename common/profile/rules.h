// What of a profile roams, and when it is loaded: rules as an administrator writes them, compiled so that
// asking is cheap.
//
// Precedence, in one paragraph (docs/rules.md says the same): rules are read from top to bottom, and each
// answers one of three questions about the items that its patterns match: is it saved, when is it loaded, how
// large may it be. For each question the last rule that matches an item decides; where none does, it is
// saved, loaded in the background, of any size. A rule about a folder or key is about everything in it. *Last
// wins*, and not *the most specific wins*: which of two patterns with wildcards is more specific nobody can
// tell at a glance, while their order is seen; and sets put one after the other (what ships, the pool's, the
// profile's) override each other as one expects.
//
// Patterns are of paths from the profile's root, by '/' or '\', without regard to case; folders that Windows
// has variables for may be written %APPDATA%. `*`, `?`, `[...]` stand for characters of one name, `**` for
// any number of names, `{a,b}` for either. Those that begin with HKCU\ are of registry keys; UsrClass.dat is
// at HKCU\Software\Classes. The hives themselves always roam: their keys have rules of their own.
//
// docs/format-rules.md has the text forms. Immutable once made; const access is thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/profile/registry.h"
#include "common/profile/rule.h"
#include "common/profile/rule_trie.h"

namespace roamstead::profile {

inline constexpr std::size_t kMostRules = 10'000;
inline constexpr std::size_t kMostRulesBytes = 1u << 20;  // of the canonical form

enum class Saving : std::uint8_t { roams, excluded, local_only, at_logout };
enum class Loading : std::uint8_t { background, preload, on_demand };
std::string_view to_string(Saving saving);
std::string_view to_string(Loading loading);

// Of one item. Rules by their position in the set; kNoRule: none says anything.
struct Verdict {
  Saving saving = Saving::roams;
  Loading loading = Loading::background;
  std::uint64_t most_bytes = kAnySize;
  RuleIndex saving_rule = kNoRule, loading_rule = kNoRule, size_rule = kNoRule;

  bool is_left_out() const { return saving == Saving::excluded || saving == Saving::local_only; }
};

class Rules {
 public:
  Rules();  // none: everything roams
  // ErrorCode::invalid_argument or unsupported; `failed`, if not null, is the position of the rule at fault.
  static Result<Rules> make(std::vector<Rule> rules, std::size_t* failed = nullptr);
  // The canonical form; ErrorCode::corrupt with the line when it is not. "" is no rules.
  static Result<Rules> parse(std::string_view canonical);

  bool empty() const { return rules_.empty(); }
  const std::vector<Rule>& all() const { return rules_; }
  // The same for sets that do the same, reasons apart; "" of an empty set.
  const std::string& canonical() const { return canonical_; }
  std::string hash() const;  // SHA-256 of it, hexadecimal; "" of an empty set

  // An item of the profile by its path, "a/b".
  Verdict file(std::string_view path) const;
  // Of a folder: whether something below it may be saved, kept for log-out, preloaded, or loaded at all,
  // although a rule says otherwise of the folder itself.
  bool leads_to_saved(std::string_view path) const;
  bool leads_to_logout(std::string_view path) const;  // or the folder itself is kept
  bool preloads_below(std::string_view path) const;   // or the folder itself
  bool loads_below(std::string_view path) const;      // the same
  // Whether everything below the two folders is judged alike, so that one may become the other by renaming
  // it.
  bool same_below(std::string_view path, std::string_view other) const;
  // Whether the folder's entry, at least, is part of the profile: it roams or leads to what does.
  bool shows_folder(std::string_view path) const;

  Verdict key(const ProfilePath& hive, const KeyPath& key) const;
  Verdict value(const ProfilePath& hive, const KeyPath& key, std::string_view name) const;
  bool shows_key(const ProfilePath& hive, const KeyPath& key) const;
  bool leads_to_saved(const ProfilePath& hive, const KeyPath& key) const;
  bool has_registry_rules() const { return registry_rules_ != 0; }

  // By the name of its program file, without its folder.
  bool process_excluded(std::string_view name) const;
  bool has(RuleAction action) const;

  // "not saved: rule 3, exclude AppData/Local/Temp (temporary files)"
  std::string describe(const Verdict& verdict) const;
  std::string describe(RuleIndex rule) const;

 private:
  Result<void> add(const Rule& rule, RuleIndex index);
  Verdict verdict_of(const RuleTrie::Walk& walk) const;
  RuleTrie::Walk walk_file(std::string_view path) const;
  RuleTrie::Walk walk_key(const ProfilePath& hive, const KeyPath& key) const;
  bool is_hive_rule(RuleIndex rule) const { return rule >= static_cast<RuleIndex>(rules_.size()); }

  std::vector<Rule> rules_;
  std::string canonical_;
  RuleTrie files_, keys_;
  std::vector<NameGlob> processes_;
  std::size_t registry_rules_ = 0;
};

}  // namespace roamstead::profile
