#include "coordinator/rest/paging.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/sha256.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr std::size_t kDigestBytes = 8;

std::string key_of(const json& item, const std::vector<std::string>& keys) {
  std::string key;
  for (const auto& name : keys) {
    const auto& value = item.at(name);
    if (value.is_string()) {
      key += value.get_ref<const std::string&>();
    } else {
      const auto digits = std::to_string(value.get<std::uint64_t>());
      key += std::string(20 - digits.size(), '0') + digits;
    }
    key += '\0';  // no name has one
  }
  return key;
}

std::string hex_of(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

bool bytes_of(const std::string& hex, std::string& bytes) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (hex.size() % 2 != 0) return false;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    const int high = digit(hex[at]), low = digit(hex[at + 1]);
    if (high < 0 || low < 0) return false;
    bytes += static_cast<char>(high * 16 + low);
  }
  return true;
}

// No secret: it keeps a cursor from being taken for one of another list, or of none.
std::string cursor_digest(const std::string& list, std::string_view key) {
  const auto digest = sha256(as_bytes(list + '\0' + std::string(key)));
  return std::string(as_text(digest).substr(0, kDigestBytes));
}

Result<std::string> key_in_cursor(const PageRequest& request) {
  std::string bytes;
  if (!bytes_of(request.cursor, bytes) || bytes.size() <= kDigestBytes ||
      bytes.substr(0, kDigestBytes) != cursor_digest(request.list, bytes.substr(kDigestBytes)))
    return fail(ErrorCode::invalid_argument, "this cursor was not given out for this list");
  return bytes.substr(kDigestBytes);
}

}  // namespace

Result<json> page_of(std::vector<json> items, const std::vector<std::string>& keys,
                     const PageRequest& request) {
  std::string after;
  if (!request.cursor.empty()) {
    RS_TRY(after, key_in_cursor(request));
  }
  std::vector<std::pair<std::string, const json*>> ordered;
  for (const auto& item : items)
    if (auto key = key_of(item, keys); request.cursor.empty() || key > after)
      ordered.emplace_back(std::move(key), &item);
  const auto count = std::min(request.limit, ordered.size());
  std::partial_sort(ordered.begin(), ordered.begin() + static_cast<std::ptrdiff_t>(count), ordered.end(),
                    [](const auto& a, const auto& b) { return a.first < b.first; });
  json page{{"items", json::array()}};
  for (std::size_t i = 0; i < count; ++i) page["items"].push_back(*ordered[i].second);
  if (count < ordered.size()) {
    const auto& last = ordered[count - 1].first;
    page["next_cursor"] = hex_of(cursor_digest(request.list, last) + last);
  }
  return page;
}

}  // namespace roamstead::rest
