#include "coordinator/doctor/redaction.h"

#include <algorithm>
#include <vector>

#include "common/base/guid.h"
#include "common/base/sha256.h"

namespace roamstead::doctor {
namespace {

constexpr std::size_t kShortestSecret = 24;  // longer than words and numbers, shorter than any key or token

bool is_digit_of_secrets(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '=' ||
         c == '_' || c == '-';
}

std::string without_blocks(std::string text) {
  for (auto begin = text.find("-----BEGIN"); begin != std::string::npos;
       begin = text.find("-----BEGIN", begin)) {
    auto end = text.find("-----END", begin);
    if (end != std::string::npos) end = text.find("-----", end + 8);
    text.replace(begin, end == std::string::npos ? std::string::npos : end + 5 - begin, "[removed]");
  }
  return text;
}

// Runs that have digits and letters in them; words joined by '_' and '-' have no digits.
std::string without_runs(const std::string& text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    auto end = at;
    bool digit = false, letter = false;
    while (end < text.size() && is_digit_of_secrets(text[end])) {
      (text[end] >= '0' && text[end] <= '9' ? digit : letter) = true;
      ++end;
    }
    if (end == at) {
      result += text[at++];
    } else {
      const auto run = text.substr(at, end - at);
      const bool session = Guid::parse(run).has_value();  // a public id
      result += end - at >= kShortestSecret && digit && letter && !session ? "[removed]" : run;
      at = end;
    }
  }
  return result;
}

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

}  // namespace

Redaction::Redaction(bool keep_names) : keep_names_(keep_names), salt_(Guid::random().to_string()) {}

void Redaction::add_name(const std::string& kind, const std::string& name) {
  if (name.empty()) return;
  constexpr char kDigits[] = "0123456789abcdef";
  const auto digest = sha256(as_bytes(salt_ + kind + ":" + name));
  std::string hash;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto byte = std::to_integer<unsigned>(digest[i]);
    hash += kDigits[byte >> 4];
    hash += kDigits[byte & 15];
  }
  names_.emplace(name, kind + "-" + hash);
}

std::string Redaction::apply(std::string text) const {
  text = without_blocks(std::move(text));
  if (!keep_names_) {
    // Longer names first, as one may be a part of another.
    std::vector<std::pair<std::string, std::string>> names(names_.begin(), names_.end());
    std::sort(names.begin(), names.end(),
              [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      const bool begins_word = at == 0 || !is_word(text[at - 1]);
      auto hit = names.end();
      for (auto name = names.begin(); begins_word && name != names.end() && hit == names.end(); ++name) {
        const auto after = at + name->first.size();
        if (text.compare(at, name->first.size(), name->first) == 0 &&
            (after >= text.size() || !is_word(text[after])))
          hit = name;
      }
      if (hit == names.end()) {
        result += text[at++];
      } else {
        result += hit->second;
        at += hit->first.size();
      }
    }
    text = std::move(result);
  }
  return without_runs(text);
}

}  // namespace roamstead::doctor
