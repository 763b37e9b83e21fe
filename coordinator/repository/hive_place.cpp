#include "coordinator/repository/hive_place.h"

#include "common/base/sha256.h"
#include "common/base/text.h"
#include "coordinator/repository/page.h"

namespace roamstead::repository {
namespace {

constexpr char kEnd = '\x00';
constexpr char kValue = '\x01';
constexpr char kSubkey = '\x02';
constexpr char kHashed = '\x03';
constexpr char kCut = '\xFF';
constexpr std::size_t kHashBytes = 32;

std::string hash_of(std::string_view text) {
  auto digest = sha256(as_bytes(text));
  return std::string(as_text(digest));
}

void append_name(std::string& place, std::string_view upcased) {
  for (const char c : upcased) {
    if (c == '\0')
      place += "\xC0\x80";
    else
      place += c;
  }
}

}  // namespace

KeyPlace place_of(const profile::KeyPath& key) {
  KeyPlace place;
  std::string whole(1, kEnd);
  std::size_t parent_bytes = 0;
  place.anchor_bytes = whole.size();
  const auto upcased = profile::upcased(key);
  std::string_view rest = upcased;
  for (std::size_t depth = 1; !rest.empty(); ++depth) {
    const auto end = rest.find('\\');
    parent_bytes = whole.size();
    whole += kSubkey;
    append_name(whole, rest.substr(0, end));
    whole += kEnd;
    if (whole.size() <= kMaxPlainBytes) {
      place.anchor_bytes = whole.size();
      place.anchor_depth = depth;
    }
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  if (whole.size() <= kMaxPlainBytes) {
    place.record = std::move(whole);
    return place;
  }
  place.own_hash = hash_of(whole);
  place.record = whole.substr(0, place.anchor_bytes) + kHashed +
                 hash_of(std::string_view(whole).substr(0, parent_bytes)) + place.own_hash;
  return place;
}

std::string KeyPlace::hashed_children() const {
  return std::string(anchor()) + kHashed + (is_hashed() ? own_hash : hash_of(record));
}

std::string value_place(const KeyPlace& key, std::string_view value) {
  const auto upcased = to_wtf8(upcase_key(value));
  auto place = key.values();
  append_name(place, upcased);
  if (place.size() <= kMaxKeyBytes) return place;
  place.resize(kMaxKeyBytes - 1 - kHashBytes);
  return place + kCut + hash_of(upcased);
}

Result<ParsedPlace> parse_place(std::string_view place) {
  auto refuse = [&](std::size_t at) {
    return fail(ErrorCode::corrupt, "hive page: no place of a key or value (offset " + std::to_string(at) +
                                        " of " + std::to_string(place.size()) + ")");
  };
  ParsedPlace parsed;
  std::size_t at = 0;
  if (place.empty() || place[0] != kEnd) return refuse(0);
  parsed.ends.push_back(++at);
  while (at < place.size() && place[at] == kSubkey) {
    const auto end = place.find(kEnd, at + 1);
    if (end == std::string_view::npos || end == at + 1) return refuse(at);
    parsed.ends.push_back(at = end + 1);
  }
  if (at < place.size() && place[at] == kHashed) {
    if (place.size() - at - 1 < 2 * kHashBytes) return refuse(at);
    at += 1 + 2 * kHashBytes;
    parsed.is_hashed = true;
  }
  parsed.record = place.substr(0, at);
  if (at == place.size()) return parsed;
  if (place[at] != kValue) return refuse(at);
  parsed.is_value = true;
  return parsed;
}

std::string after_all_within(std::string prefix) {
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

}  // namespace roamstead::repository
