#include <fmt/format.h>

#include <charconv>

#include "common/base/text.h"
#include "common/registry/reg_text.h"

namespace roamstead::registry {
namespace {

constexpr std::string_view kHeader = "Windows Registry Editor Version 5.00";

Result<std::string> decode(ByteView text) {
  const auto plain = as_text(text);
  if (plain.starts_with("\xFF\xFE")) return utf16le_to_wtf8(text.subspan(2));
  const auto utf8 = plain.starts_with("\xEF\xBB\xBF") ? plain.substr(3) : plain;
  if (!is_wtf8(utf8))
    return fail(ErrorCode::invalid_argument,
                "neither UTF-16 with a byte order mark nor UTF-8: save the file as Unicode and try again");
  return std::string(utf8);
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<RegChange>> run() {
    skip_blank();
    if (!text_.substr(at_).starts_with(kHeader))
      return bad(fmt::format("the text must begin with '{}'", kHeader));
    at_ += kHeader.size();
    RS_CHECK(end_line());
    for (skip_blank(); at_ < text_.size(); skip_blank()) RS_CHECK(statement());
    return std::move(changes_);
  }

 private:
  tl::unexpected<Error> bad(const std::string& what) const {
    return fail(ErrorCode::invalid_argument, fmt::format("line {}: {}", line_, what));
  }
  bool here(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void skip_spaces() {
    while (here(' ') || here('\t') || here('\r')) ++at_;
  }
  // Spaces, empty lines and comments.
  void skip_blank() {
    for (;; ++at_, ++line_) {
      skip_spaces();
      if (here(';'))
        while (at_ < text_.size() && !here('\n')) ++at_;
      if (!here('\n')) return;
    }
  }
  Result<void> end_line() {
    skip_spaces();
    if (here(';'))
      while (at_ < text_.size() && !here('\n')) ++at_;
    if (at_ == text_.size()) return {};
    if (!here('\n')) return bad("something follows where the line should end");
    ++at_;
    ++line_;
    return {};
  }

  Result<void> statement() {
    if (here('[')) return key();
    if (here('"') || here('@')) return value();
    return bad("a key in [ ], a value's name in \" \" or @ expected");
  }

  Result<void> key() {
    const auto end_of_line = std::min(text_.find('\n', at_), text_.size());
    const auto close = text_.rfind(']', end_of_line - 1);
    if (close == std::string_view::npos || close <= at_) return bad("']' is missing");
    ++at_;
    RegChange change;
    change.kind = take("-") ? RegChange::Kind::delete_key : RegChange::Kind::create_key;
    change.key = std::string(text_.substr(at_, close - at_));
    change.line = line_;
    if (change.key.empty()) return bad("a key without a name");
    at_ = close + 1;
    key_ = change.kind == RegChange::Kind::create_key ? change.key : "";
    changes_.push_back(std::move(change));
    return end_line();
  }

  Result<std::string> quoted() {
    std::string out;
    for (++at_; at_ < text_.size(); ++at_) {
      if (here('"')) {
        ++at_;
        return out;
      }
      if (here('\\') && at_ + 1 < text_.size()) ++at_;
      if (here('\n')) ++line_;
      out += text_[at_];
    }
    return bad("'\"' is missing");
  }

  Result<void> value() {
    if (key_.empty()) return bad("a value that belongs to no key");
    RegChange change;
    change.kind = RegChange::Kind::set_value;
    change.key = key_;
    change.line = line_;
    if (here('@')) {
      ++at_;
    } else {
      RS_TRY(change.value_name, quoted());
    }
    skip_spaces();
    if (!take("=")) return bad("'=' expected");
    skip_spaces();
    RS_CHECK(data(change));
    changes_.push_back(std::move(change));
    return end_line();
  }

  Result<void> data(RegChange& change) {
    if (take("-")) {
      change.kind = RegChange::Kind::delete_value;
      return {};
    }
    if (here('"')) {
      RS_TRY(const auto text, quoted());
      RS_TRY(const auto units, to_utf16(text));
      change.type = static_cast<std::uint32_t>(ValueType::string);
      change.data.resize((units.size() + 1) * 2);
      std::memcpy(change.data.data(), units.data(), units.size() * 2);
      return {};
    }
    if (take("dword:")) {
      change.type = static_cast<std::uint32_t>(ValueType::dword);
      RS_TRY(const auto number, hexadecimal());
      change.data.resize(4);
      store_le<std::uint32_t>(change.data, 0, number);
      return {};
    }
    if (!take("hex")) return bad("\"text\", dword:, hex: or hex(type): expected");
    change.type = static_cast<std::uint32_t>(ValueType::binary);
    if (take("(")) {
      RS_TRY(change.type, hexadecimal());
      if (!take(")")) return bad("')' is missing");
    }
    if (!take(":")) return bad("':' expected");
    return bytes(change.data);
  }

  Result<std::uint32_t> hexadecimal() {
    std::uint32_t number = 0;
    const auto rest = text_.substr(at_);
    auto [end, error] =
        std::from_chars(rest.data(), rest.data() + std::min<std::size_t>(rest.size(), 9), number, 16);
    if (error != std::errc()) return bad("a hexadecimal number of at most 8 digits expected");
    at_ += static_cast<std::size_t>(end - rest.data());
    return number;
  }

  static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  }

  // "00,1f,\" and so on in the next line.
  Result<void> bytes(Bytes& out) {
    for (;;) {
      skip_spaces();
      if (take("\\")) {
        skip_spaces();
        if (!here('\n')) return bad("a line should end after '\\'");
        ++at_;
        ++line_;
        continue;
      }
      if (at_ == text_.size() || here('\n') || here(';')) return {};
      const int high = digit(text_[at_]);
      const int low = at_ + 1 < text_.size() ? digit(text_[at_ + 1]) : -1;
      if (high < 0) return bad("two hexadecimal digits expected");
      // Registry Editor also takes one digit for a small byte.
      out.push_back(static_cast<std::byte>(low < 0 ? high : high * 16 + low));
      at_ += low < 0 ? 1 : 2;
      skip_spaces();
      if (!take(",") && at_ < text_.size() && !here('\n') && !here(';') && !here('\\'))
        return bad("',' expected between bytes");
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::string key_;
  std::vector<RegChange> changes_;
};

}  // namespace

Result<std::vector<RegChange>> parse_reg(ByteView text) {
  RS_TRY(const auto decoded, decode(text));
  return Parser(decoded).run();
}

}  // namespace roamstead::registry
