#include <fmt/format.h>

#include "common/base/text.h"
#include "common/registry/reg_text.h"

namespace roamstead::registry {
namespace {

constexpr std::size_t kFlushUnits = 1 << 16;
constexpr std::size_t kLineUnits = 80;  // where Registry Editor breaks lines of hexadecimal bytes
constexpr char16_t kDigits[] = u"0123456789abcdef";

class Exporter final : public TreeVisitor {
 public:
  Exporter(std::string_view prefix, const TextSink& sink, std::vector<Defect>& defects)
      : sink_(sink), defects_(defects) {
    if (auto units = to_utf16(prefix)) path_ = std::move(*units);
    text_.reserve(kFlushUnits + kFlushUnits / 4);
    text_ = u"Windows Registry Editor Version 5.00\r\n";
  }

  bool enter(const Key& key, const std::string&, std::uint32_t depth) override {
    if (!result_) return false;
    lengths_.push_back(path_.size());
    if (depth != 0) {
      path_ += u'\\';
      append(path_, key.name);
    }
    text_ += u"\r\n[";
    text_ += path_;
    text_ += u"]\r\n";
    flush_if_full();
    return true;
  }

  void leave(const Key&, const std::string&) override {
    path_.resize(lengths_.back());
    lengths_.pop_back();
  }

  void value(const Key&, const std::string&, const Value& value, ByteView data) override {
    const auto line_start = text_.size();
    if (value.name.empty()) {
      text_ += u'@';
    } else {
      text_ += u'"';
      for (std::size_t i = 0; i < value.name.size(); ++i) put_escaped(value.name[i]);
      text_ += u'"';
    }
    text_ += u'=';
    const auto type = static_cast<ValueType>(value.type);
    if (type == ValueType::string && is_plain_string(data)) {
      put_string(data.first(data.size() - 2));
    } else if (type == ValueType::dword && data.size() == 4) {
      text_ += u"dword:";
      const auto number = load_le<std::uint32_t>(data);
      for (int shift = 28; shift >= 0; shift -= 4) text_ += kDigits[number >> shift & 15];
    } else {
      text_ += u"hex";
      if (type != ValueType::binary)
        for (const char c : fmt::format("({:x})", value.type)) text_ += static_cast<char16_t>(c);
      text_ += u':';
      put_bytes(data, text_.size() - line_start);
    }
    text_ += u"\r\n";
    flush_if_full();
  }

  void defect(Defect defect) override { defects_.push_back(std::move(defect)); }

  Result<void> finish() {
    if (result_ && !text_.empty()) result_ = sink_(text_);
    return result_;
  }

 private:
  static void append(std::u16string& out, const NameView& name) {
    for (std::size_t i = 0; i < name.size(); ++i) out += name[i];
  }

  void put_escaped(char16_t unit) {
    if (unit == u'"' || unit == u'\\') text_ += u'\\';
    text_ += unit;
  }

  // UTF-16 with one NUL, at its end, and nothing that breaks a line.
  static bool is_plain_string(ByteView data) {
    if (data.size() < 2 || data.size() % 2 != 0 || load_le<std::uint16_t>(data, data.size() - 2) != 0)
      return false;
    for (std::size_t i = 0; i + 2 < data.size(); i += 2) {
      const auto unit = load_le<std::uint16_t>(data, i);
      if (unit == 0 || unit == '\r' || unit == '\n') return false;
    }
    return true;
  }

  void put_string(ByteView units) {
    text_ += u'"';
    for (std::size_t i = 0; i < units.size(); i += 2)
      put_escaped(static_cast<char16_t>(load_le<std::uint16_t>(units, i)));
    text_ += u'"';
  }

  void put_bytes(ByteView data, std::size_t column) {
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto byte = std::to_integer<unsigned>(data[i]);
      char16_t units[3] = {kDigits[byte >> 4], kDigits[byte & 15], u','};
      const bool last = i + 1 == data.size();
      text_.append(units, last ? 2 : 3);
      column += 3;
      if (!last && column > kLineUnits - 4) {
        text_ += u"\\\r\n  ";
        column = 2;
        flush_if_full();
      }
    }
  }

  void flush_if_full() {
    if (text_.size() < kFlushUnits) return;
    if (result_) result_ = sink_(text_);
    text_.clear();
  }

  const TextSink& sink_;
  std::vector<Defect>& defects_;
  std::u16string path_;
  std::vector<std::size_t> lengths_;
  std::u16string text_;
  Result<void> result_;
};

}  // namespace

Result<void> export_reg(const Hive& hive, const Key& from, std::string_view prefix, const TextSink& sink,
                        std::vector<Defect>& defects) {
  Exporter exporter(prefix, sink, defects);
  hive.walk(from, exporter);
  return exporter.finish();
}

}  // namespace roamstead::registry
