// Patterns of single names: `*` any run of characters, `?` one, `[a-z]` one of these, `[!a-z]` one of all
// others.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::profile {

// A compiled pattern of one name. Names and pattern meet upcased by the format's own table
// (common/base/text.h), as UTF-16 units; `?` is one unit. Matching takes at most units of the name times
// units of the pattern.
class NameGlob {
 public:
  // WTF-8 without separators. ErrorCode::invalid_argument: an unclosed `[`, an empty or backward range.
  static Result<NameGlob> parse(std::string_view pattern);

  // `upcased` as upcase_key() makes it.
  bool matches(std::u16string_view upcased) const;

  // The forms that need no search through all patterns.
  enum class Shape { literal, prefix, suffix, any, other };  // "abc", "abc*", "*abc", "*", all others
  Shape shape() const;
  std::u16string text() const;  // of literal, prefix and suffix: their fixed part, upcased

 private:
  struct Token {
    enum class Kind : std::uint8_t { unit, one, run, of, none_of };
    Kind kind = Kind::unit;
    char16_t unit = 0;
    std::u16string ranges;  // pairs: first, last
  };
  static bool fits(const Token& token, char16_t unit);

  std::vector<Token> tokens_;
};

// The pattern once for each of its `{a,b}`, which may be nested and may hold separators. Braces without a
// comma are ordinary characters, as in the names of GUIDs. ErrorCode::invalid_argument: an unclosed brace
// with a comma, or more than `most` patterns.
Result<std::vector<std::string>> expand_braces(std::string_view pattern, std::size_t most);

}  // namespace roamstead::profile
