// All patterns of a rule set as one automaton: a path is walked name by name, and what it costs does not grow
// with the number of rules, but for those with wildcards in the midst of a name.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/profile/glob.h"

namespace roamstead::profile {

// Patterns compared one by one with each name; more in one set are refused.
inline constexpr std::size_t kMostSearchedGlobs = 500;
inline constexpr std::size_t kMostTrieNodes = 200'000;

// What a rule says something about. Of each the last rule that matches decides.
enum class Aspect : std::uint8_t { saving, loading, size };
inline constexpr std::size_t kAspects = 3;

// Rules that callers want to know of before they have seen what they match.
enum class Hint : std::uint8_t { saved, at_logout, preloaded, loaded };
inline constexpr std::size_t kHints = 4;

using RuleIndex = std::int32_t;  // position in the set; a later one wins
inline constexpr RuleIndex kNoRule = -1;

class RuleTrie {
 public:
  RuleTrie() : nodes_(1) {}

  // A pattern as its names, `**` among them for any number of names, none too. It matches an item and all
  // below it; `X/**` what is below X. ErrorCode::invalid_argument, or unsupported for too many.
  Result<void> add(const std::vector<std::string>& names, Aspect aspect, RuleIndex rule,
                   const std::vector<Hint>& hints);
  // A rule about values in the keys that match, not in those below.
  Result<void> add_value(const std::vector<std::string>& names, const std::string& value, RuleIndex rule,
                         const std::vector<Hint>& hints);

  // How far a path was walked. A value: copied where paths branch.
  class Walk {
   public:
    RuleIndex rule(Aspect aspect) const { return best_[static_cast<std::size_t>(aspect)]; }
    // The last rule of that kind that may match something below.
    RuleIndex below(const RuleTrie& trie, Hint hint) const;
    // The last rule about a value of this name in the key that was walked to.
    RuleIndex value(const RuleTrie& trie, std::u16string_view upcased) const;
    // Then whatever follows is judged alike.
    bool operator==(const Walk&) const = default;

   private:
    friend class RuleTrie;
    std::vector<std::uint32_t> active_;
    std::array<RuleIndex, kAspects> best_{kNoRule, kNoRule, kNoRule};
  };
  Walk start() const;
  void step(Walk& walk, std::u16string_view upcased) const;

 private:
  struct Value {
    NameGlob glob;
    RuleIndex rule = kNoRule;
  };
  using Edges = std::map<std::u16string, std::uint32_t, std::less<>>;
  struct Node {
    Edges literals, prefixes, suffixes;
    std::vector<std::size_t> prefix_lengths, suffix_lengths;  // that occur, each once
    std::vector<std::pair<NameGlob, std::uint32_t>> searched;
    std::vector<std::string> searched_texts;
    std::uint32_t any = 0;   // "*"; 0: none
    std::uint32_t deep = 0;  // "**"; 0: none
    bool loops = false;      // a "**": stays whatever the name
    std::array<RuleIndex, kAspects> accepts{kNoRule, kNoRule, kNoRule};
    std::array<RuleIndex, kHints> below{kNoRule, kNoRule, kNoRule, kNoRule};
    std::vector<Value> values;
  };
  Result<std::uint32_t> descend(const std::vector<std::string>& names, RuleIndex rule,
                                const std::vector<Hint>& hints);
  Result<std::uint32_t> child(std::uint32_t node, const std::string& name);
  std::uint32_t make_node();
  void enter(Walk& walk, std::uint32_t node) const;

  std::vector<Node> nodes_;  // the first is the root
  std::size_t searched_ = 0;
};

}  // namespace roamstead::profile
