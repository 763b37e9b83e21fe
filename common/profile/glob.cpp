#include "common/profile/glob.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::profile {
namespace {

tl::unexpected<Error> bad_glob(std::string why) { return fail(ErrorCode::invalid_argument, std::move(why)); }

// Where the group that begins at `open` ends, and its commas; npos: it does not end.
std::size_t find_group_end(std::string_view pattern, std::size_t open, std::vector<std::size_t>& commas) {
  std::size_t depth = 0;
  for (auto at = open; at < pattern.size(); ++at) {
    if (pattern[at] == '{') ++depth;
    if (pattern[at] == ',' && depth == 1) commas.push_back(at);
    if (pattern[at] == '}' && --depth == 0) return at;
  }
  return std::string_view::npos;
}

constexpr std::size_t kMostNesting = 8;

Result<void> expand(std::string_view head, std::string_view rest, std::size_t most, std::size_t nesting,
                    std::vector<std::string>& out) {
  for (auto open = rest.find('{'); open != std::string_view::npos; open = rest.find('{', open + 1)) {
    std::vector<std::size_t> commas;
    const auto end = find_group_end(rest, open, commas);
    if (commas.empty()) continue;
    if (end == std::string_view::npos) return bad_glob("'{' with a ',' and without its '}'");
    if (nesting >= kMostNesting) return bad_glob("more than 8 groups in braces");
    commas.push_back(end);
    auto begin = open + 1;
    for (const auto comma : commas) {
      // What the group stands for may hold groups itself, and so may what follows.
      const auto before = std::string(head) + std::string(rest.substr(0, open));
      const auto after = std::string(rest.substr(begin, comma - begin)) + std::string(rest.substr(end + 1));
      RS_CHECK(expand(before, after, most, nesting + 1, out));
      begin = comma + 1;
    }
    return {};
  }
  if (out.size() >= most) return bad_glob("its braces make more than " + std::to_string(most) + " patterns");
  out.push_back(std::string(head) + std::string(rest));
  return {};
}

}  // namespace

Result<std::vector<std::string>> expand_braces(std::string_view pattern, std::size_t most) {
  std::vector<std::string> out;
  RS_CHECK(expand("", pattern, most, 0, out));
  return out;
}

Result<NameGlob> NameGlob::parse(std::string_view pattern) {
  RS_TRY(const auto units, to_utf16(pattern));
  NameGlob glob;
  using Kind = Token::Kind;
  for (std::size_t at = 0; at < units.size(); ++at) {
    const auto unit = units[at];
    if (unit == u'*') {
      if (glob.tokens_.empty() || glob.tokens_.back().kind != Kind::run)
        glob.tokens_.push_back({Kind::run, 0, {}});
      continue;
    }
    if (unit == u'?') {
      glob.tokens_.push_back({Kind::one, 0, {}});
      continue;
    }
    if (unit != u'[') {
      glob.tokens_.push_back({Kind::unit, upcase(unit), {}});
      continue;
    }
    Token token{Kind::of, 0, {}};
    ++at;
    if (at < units.size() && (units[at] == u'!' || units[at] == u'^')) {
      token.kind = Kind::none_of;
      ++at;
    }
    const auto first = at;
    while (at < units.size() && (units[at] != u']' || at == first)) {
      const auto low = units[at];
      auto high = low;
      if (at + 2 < units.size() && units[at + 1] == u'-' && units[at + 2] != u']') {
        high = units[at + 2];
        at += 2;
      }
      if (high < low) return bad_glob("a range in '[...]' that ends before it begins");
      // As they stand and upcased: a range of small letters means the capitals too.
      token.ranges += {low, high, upcase(low), upcase(high)};
      ++at;
    }
    if (at >= units.size())
      return bad_glob("'[' without its ']'; a name that holds '[' is written with '[[]'");
    glob.tokens_.push_back(std::move(token));
  }
  return glob;
}

bool NameGlob::fits(const Token& token, char16_t unit) {
  switch (token.kind) {
    case Token::Kind::unit:
      return token.unit == unit;
    case Token::Kind::one:
      return true;
    case Token::Kind::run:
      return false;
    case Token::Kind::of:
    case Token::Kind::none_of:
      break;
  }
  bool in = false;
  for (std::size_t i = 0; i + 1 < token.ranges.size(); i += 2)
    in = in || (token.ranges[i] <= unit && unit <= token.ranges[i + 1]);
  return in == (token.kind == Token::Kind::of);
}

bool NameGlob::matches(std::u16string_view name) const {
  std::size_t token = 0, at = 0;
  std::size_t run = tokens_.size(), run_at = 0;  // where to go on when what follows the last `*` does not fit
  while (at < name.size()) {
    if (token < tokens_.size() && tokens_[token].kind == Token::Kind::run) {
      run = token++;
      run_at = at;
    } else if (token < tokens_.size() && fits(tokens_[token], name[at])) {
      ++token;
      ++at;
    } else if (run < tokens_.size()) {
      token = run + 1;
      at = ++run_at;
    } else {
      return false;
    }
  }
  while (token < tokens_.size() && tokens_[token].kind == Token::Kind::run) ++token;
  return token == tokens_.size();
}

NameGlob::Shape NameGlob::shape() const {
  using Kind = Token::Kind;
  std::size_t units = 0;
  for (const auto& token : tokens_) units += token.kind == Kind::unit ? 1 : 0;
  if (units == tokens_.size()) return Shape::literal;
  if (units + 1 != tokens_.size()) return Shape::other;
  if (tokens_.size() == 1 && tokens_.front().kind == Kind::run) return Shape::any;
  if (tokens_.front().kind == Kind::run) return Shape::suffix;
  return tokens_.back().kind == Kind::run ? Shape::prefix : Shape::other;
}

std::u16string NameGlob::text() const {
  std::u16string text;
  for (const auto& token : tokens_)
    if (token.kind == Token::Kind::unit) text += token.unit;
  return text;
}

}  // namespace roamstead::profile
