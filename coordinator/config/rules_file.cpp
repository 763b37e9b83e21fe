#include "coordinator/config/rules_file.h"

#include <optional>

#include "coordinator/config/ascii_toml.h"
#include "coordinator/config/toml.h"
#include "coordinator/config/units.h"

namespace roamstead::config {
namespace {

using profile::Rule;
using profile::RuleAction;

class RulesReader {
 public:
  explicit RulesReader(const std::string& source) : source_(source) {}

  Result<RulesFile> read(std::string_view text) {
    if (text.size() > kMostRulesFileBytes)
      return fail(ErrorCode::invalid_argument,
                  source_ + ": more than " + size_text(kMostRulesFileBytes) + " of rules");
    RS_TRY(const auto ascii, ascii_toml(text, source_));
    const auto parsed = toml::parse(ascii, source_);
    if (!parsed) {
      note(parsed.error().source(), std::string(parsed.error().description()));
    } else {
      for (const auto& [key, node] : parsed.table()) top(key, node);
    }
    if (problems_.empty()) return std::move(file_);
    return fail(ErrorCode::invalid_argument, problems_);
  }

 private:
  void note(const toml::source_region& where, const std::string& what) {
    if (++count_ > 20) return;  // enough to begin with
    problems_ +=
        (problems_.empty() ? "" : "\n") + source_ + ":" + std::to_string(where.begin.line) + ": " + what;
  }

  void top(const toml::key& key, const toml::node& node) {
    if (key.str() == "defaults" && node.is_boolean()) {
      file_.defaults = node.as_boolean()->get();
    } else if (key.str() == "rule" && node.is_array_of_tables()) {
      for (const auto& each : *node.as_array()) rule(*each.as_table());
    } else if (key.str() == "defaults") {
      note(key.source(), "'defaults' is true or false");
    } else if (key.str() == "rule") {
      note(key.source(), "a rule begins with a line [[rule]]");
    } else {
      note(key.source(),
           "'" + std::string(key.str()) + "' is not known here: there are 'defaults' and [[rule]]");
    }
  }

  std::optional<std::string> text_of(const toml::key& key, const toml::node& node) {
    if (node.is_string()) return node.as_string()->get();
    note(key.source(), "'" + std::string(key.str()) + "' is a text in quotes");
    return std::nullopt;
  }

  void rule(const toml::table& table) {
    Rule like;
    std::vector<std::pair<std::string, toml::source_region>> patterns;
    std::optional<RuleAction> action;
    bool has_size = false, unknown = false;
    for (const auto& [key, node] : table) {
      if (key.str() == "reason") {
        if (auto text = text_of(key, node)) like.reason = std::move(*text);
      } else if (key.str() == "value") {
        like.value = text_of(key, node);
      } else if (key.str() == "size") {
        has_size = true;
        const auto text = text_of(key, node);
        auto size = text ? parse_size(*text) : Result<std::uint64_t>(0);
        if (!size) note(key.source(), "size: " + size.error().message);
        like.most_bytes = size.value_or(0);
      } else if (const auto known = profile::parse_rule_action(key.str()); !known) {
        unknown = true;
        note(key.source(), known.error().message + "; and 'reason', 'size', 'value'");
      } else if (action) {
        note(key.source(),
             "a rule does one thing: '" + std::string(key.str()) + "' needs a [[rule]] of its own");
      } else {
        action = *known;
        add_patterns(key, node, patterns);
      }
    }
    if (!action && unknown) return;
    if (!action)
      return note(table.source(), "this rule does nothing; write, for instance, exclude = \"Downloads\"");
    if (has_size != (*action == RuleAction::max_size))
      return note(table.source(),
                  has_size ? "'size' belongs to 'max-size'" : "'max-size' needs a size = \"2GiB\"");
    like.action = *action;
    for (auto& [pattern, where] : patterns) {
      auto one = like;
      one.pattern = pattern;
      // Alone first, so that what is wrong with it is said where it stands.
      if (auto made = profile::Rules::make({one}); !made)
        note(where, "'" + pattern + "': " + made.error().message);
      else
        file_.rules.push_back(std::move(one));
    }
  }

  void add_patterns(const toml::key& key, const toml::node& node,
                    std::vector<std::pair<std::string, toml::source_region>>& patterns) {
    if (node.is_string()) return void(patterns.emplace_back(node.as_string()->get(), node.source()));
    if (!node.is_array())
      return note(key.source(), "'" + std::string(key.str()) + "' takes a pattern, or a list of them");
    for (const auto& each : *node.as_array()) {
      if (each.is_string())
        patterns.emplace_back(each.as_string()->get(), each.source());
      else
        note(each.source(), "a pattern is a text in quotes");
    }
  }

  const std::string& source_;
  RulesFile file_;
  std::string problems_;
  std::size_t count_ = 0;
};

}  // namespace

Result<RulesFile> parse_rules_file(std::string_view text, const std::string& source) {
  return RulesReader(source).read(text);
}

const std::vector<profile::Rule>& default_rules() {
  static const auto rules = parse_rules_file(default_rules_text(), "defaults").value().rules;
  return rules;
}

Result<profile::Rules> effective_rules(std::string_view pool_text, std::string_view profile_text) {
  RS_TRY(const auto pool, parse_rules_file(pool_text, "rules of the pool"));
  RS_TRY(const auto own, parse_rules_file(profile_text, "rules of the profile"));
  std::vector<Rule> all;
  if (pool.defaults || own.defaults) all = default_rules();
  all.insert(all.end(), pool.rules.begin(), pool.rules.end());
  all.insert(all.end(), own.rules.begin(), own.rules.end());
  return profile::Rules::make(std::move(all));
}

}  // namespace roamstead::config
