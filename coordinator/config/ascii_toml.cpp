#include "coordinator/config/ascii_toml.h"

#include <fmt/format.h>

#include "common/base/text.h"

namespace roamstead::config {
namespace {

// How many bytes the character at the beginning has by its first one; 0: it cannot begin one.
std::size_t bytes_of(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t bytes = first < 0x80   ? 1
                            : first < 0xc2 ? 0
                            : first < 0xe0 ? 2
                            : first < 0xf0 ? 3
                            : first < 0xf5 ? 4
                                           : 0;
  return bytes <= text.size() ? bytes : 0;
}

// Of one character; nothing where it is no Unicode scalar value.
std::string escape_of(std::string_view character) {
  const auto units = to_utf16(character);
  if (!units || units->empty()) return "";
  const auto first = static_cast<std::uint32_t>(units->front());
  if (units->size() == 1) return first >= 0xd800 && first < 0xe000 ? "" : fmt::format("\\u{:04x}", first);
  const auto second = static_cast<std::uint32_t>(units->back());
  return fmt::format("\\U{:08x}", 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
}

}  // namespace

Result<std::string> ascii_toml(std::string_view text, const std::string& source) {
  std::string out;
  out.reserve(text.size());
  std::uint32_t line = 1;
  std::string_view quotes;  // what ends the text we are in; "#": a comment
  const auto refuse = [&](const char* why) {
    return fail(ErrorCode::invalid_argument, fmt::format("{}:{}: {}", source, line, why));
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const auto code = static_cast<unsigned char>(c);
    if ((code < 0x20 && c != '\t' && c != '\n' && c != '\r') || code == 0x7f)
      return refuse("a control character");
    const auto bytes = bytes_of(text.substr(at));
    const auto escape = bytes > 1 ? escape_of(text.substr(at, bytes)) : "";
    if (bytes == 0 || (bytes > 1 && escape.empty())) return refuse("not UTF-8");
    if (bytes > 1) {
      if (quotes.empty() || quotes[0] == '\'')
        return refuse(
            "a character beyond ASCII, which may stand in comments and in texts within double quotes");
      out += quotes == "#" ? "?" : escape;
      at += bytes;
      continue;
    }
    out += c;
    ++at;
    if (c == '\n') {
      ++line;
      if (quotes.size() == 1) quotes = {};  // a text that is not ended is for the parser to name
    } else if (quotes.empty()) {
      if (c == '#') quotes = "#";
      if (c != '"' && c != '\'') continue;
      const bool three = text.substr(at - 1, 3) == std::string(3, c);
      quotes = text.substr(at - 1, three ? 3 : 1);
      if (three) out += std::string(2, c), at += 2;
    } else if (quotes[0] == '"' && c == '\\') {
      if (at < text.size() && (text[at] == '"' || text[at] == '\\')) out += text[at++];
    } else if (quotes != "#" && text.substr(at - 1, quotes.size()) == quotes) {
      out += quotes.substr(1);
      at += quotes.size() - 1;
      quotes = {};
    }
  }
  return out;
}

}  // namespace roamstead::config
