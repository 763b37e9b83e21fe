#include "common/profile/rule_trie.h"

#include <algorithm>

namespace roamstead::profile {
namespace {

void add_length(std::vector<std::size_t>& lengths, std::size_t length) {
  if (std::find(lengths.begin(), lengths.end(), length) == lengths.end()) lengths.push_back(length);
}

}  // namespace

std::uint32_t RuleTrie::make_node() {
  nodes_.emplace_back();
  return static_cast<std::uint32_t>(nodes_.size() - 1);
}

Result<std::uint32_t> RuleTrie::child(std::uint32_t node, const std::string& name) {
  if (nodes_.size() >= kMostTrieNodes)
    return fail(ErrorCode::unsupported, "the rules' patterns are too many: more than " +
                                            std::to_string(kMostTrieNodes) + " names in all");
  if (name == "**") {
    if (nodes_[node].loops) return node;
    if (nodes_[node].deep == 0) {
      const auto made = make_node();
      nodes_[made].loops = true;
      nodes_[node].deep = made;
    }
    return nodes_[node].deep;
  }
  RS_TRY(auto glob, NameGlob::parse(name));
  const auto in = [&](Edges Node::*edges, const std::u16string& text) -> std::uint32_t {
    if (const auto found = (nodes_[node].*edges).find(text); found != (nodes_[node].*edges).end())
      return found->second;
    const auto made = make_node();
    (nodes_[node].*edges).emplace(text, made);
    return made;
  };
  const auto text = glob.text();
  switch (glob.shape()) {
    case NameGlob::Shape::literal:
      return in(&Node::literals, text);
    case NameGlob::Shape::prefix:
      add_length(nodes_[node].prefix_lengths, text.size());
      return in(&Node::prefixes, text);
    case NameGlob::Shape::suffix:
      add_length(nodes_[node].suffix_lengths, text.size());
      return in(&Node::suffixes, text);
    case NameGlob::Shape::any:
      if (nodes_[node].any == 0) {
        const auto made = make_node();
        nodes_[node].any = made;
      }
      return nodes_[node].any;
    case NameGlob::Shape::other:
      break;
  }
  const auto& texts = nodes_[node].searched_texts;
  if (const auto known = std::find(texts.begin(), texts.end(), name); known != texts.end())
    return nodes_[node].searched[static_cast<std::size_t>(known - texts.begin())].second;
  if (++searched_ > kMostSearchedGlobs)
    return fail(ErrorCode::unsupported,
                "more than " + std::to_string(kMostSearchedGlobs) +
                    " names with wildcards elsewhere than at one of their ends; write 'name*' or '*.ext'");
  const auto made = make_node();
  nodes_[node].searched.emplace_back(std::move(glob), made);
  nodes_[node].searched_texts.push_back(name);
  return made;
}

Result<std::uint32_t> RuleTrie::descend(const std::vector<std::string>& names, RuleIndex rule,
                                        const std::vector<Hint>& hints) {
  std::uint32_t node = 0;
  const auto hint_at = [&](std::uint32_t at) {
    for (const auto hint : hints) {
      auto& below = nodes_[at].below[static_cast<std::size_t>(hint)];
      below = std::max(below, rule);
    }
  };
  hint_at(node);
  for (std::size_t i = 0; i < names.size(); ++i) {
    RS_TRY(node, child(node, names[i]));
    if (names[i] == "**" && i + 1 == names.size()) {  // below, not itself
      hint_at(node);
      RS_TRY(node, child(node, "*"));
    }
    if (i + 1 < names.size()) hint_at(node);
  }
  return node;
}

Result<void> RuleTrie::add(const std::vector<std::string>& names, Aspect aspect, RuleIndex rule,
                           const std::vector<Hint>& hints) {
  RS_TRY(const auto node, descend(names, rule, hints));
  auto& accepts = nodes_[node].accepts[static_cast<std::size_t>(aspect)];
  accepts = std::max(accepts, rule);
  return {};
}

Result<void> RuleTrie::add_value(const std::vector<std::string>& names, const std::string& value,
                                 RuleIndex rule, const std::vector<Hint>& hints) {
  RS_TRY(const auto node, descend(names, rule, hints));
  RS_TRY(auto glob, NameGlob::parse(value));
  if (nodes_[node].values.size() >= kMostSearchedGlobs)
    return fail(ErrorCode::unsupported,
                "more than " + std::to_string(kMostSearchedGlobs) + " rules about values of the same keys");
  for (const auto hint : hints) {  // of the key itself too: its values are not all as the key is
    auto& below = nodes_[node].below[static_cast<std::size_t>(hint)];
    below = std::max(below, rule);
  }
  nodes_[node].values.push_back({std::move(glob), rule});
  return {};
}

void RuleTrie::enter(Walk& walk, std::uint32_t node) const {
  walk.active_.push_back(node);
  for (std::size_t i = 0; i < kAspects; ++i) walk.best_[i] = std::max(walk.best_[i], nodes_[node].accepts[i]);
  if (nodes_[node].deep != 0) enter(walk, nodes_[node].deep);
}

RuleTrie::Walk RuleTrie::start() const {
  Walk walk;
  enter(walk, 0);
  return walk;
}

void RuleTrie::step(Walk& walk, std::u16string_view name) const {
  auto active = std::move(walk.active_);
  walk.active_.clear();
  for (const auto at : active) {
    const auto& node = nodes_[at];
    if (node.loops) enter(walk, at);
    if (const auto found = node.literals.find(name); found != node.literals.end()) enter(walk, found->second);
    for (const auto length : node.prefix_lengths) {
      if (length > name.size()) continue;
      if (const auto found = node.prefixes.find(name.substr(0, length)); found != node.prefixes.end())
        enter(walk, found->second);
    }
    for (const auto length : node.suffix_lengths) {
      if (length > name.size()) continue;
      if (const auto found = node.suffixes.find(name.substr(name.size() - length));
          found != node.suffixes.end())
        enter(walk, found->second);
    }
    for (const auto& [glob, next] : node.searched)
      if (glob.matches(name)) enter(walk, next);
    if (node.any != 0) enter(walk, node.any);
  }
  std::sort(walk.active_.begin(), walk.active_.end());
  walk.active_.erase(std::unique(walk.active_.begin(), walk.active_.end()), walk.active_.end());
}

RuleIndex RuleTrie::Walk::below(const RuleTrie& trie, Hint hint) const {
  auto last = kNoRule;
  for (const auto at : active_) last = std::max(last, trie.nodes_[at].below[static_cast<std::size_t>(hint)]);
  return last;
}

RuleIndex RuleTrie::Walk::value(const RuleTrie& trie, std::u16string_view upcased) const {
  auto last = kNoRule;
  for (const auto at : active_)
    for (const auto& value : trie.nodes_[at].values)
      if (value.rule > last && value.glob.matches(upcased)) last = value.rule;
  return last;
}

}  // namespace roamstead::profile
