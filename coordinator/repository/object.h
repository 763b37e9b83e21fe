// Names and kinds of the immutable pieces a repository is made of.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/base/bytes.h"
#include "common/base/guid.h"

namespace roamstead::repository {

// What an object is. Part of the format: the numbers are in packs, in object ids and in what seals
// authenticate.
enum class ObjectType : std::uint8_t {
  chunk = 1,   // a piece of a file's content; sealed under the repository's key
  page = 2,    // a page of a directory or of a chunk list; this and all below under the profile's key
  entry = 3,   // a directory entry too large for its page
  commit = 4,  // a commit record: makes the objects before it a version
};
inline bool is_known(ObjectType type) { return type >= ObjectType::chunk && type <= ObjectType::commit; }

// No object holds more than this before compression; a record that claims more is damaged.
inline constexpr std::size_t kMaxObjectBytes = 4u << 20;

// HMAC-SHA-256 under the repository's id key over type, profile and content. Never leaves the coordinator.
struct ObjectId {
  std::array<std::byte, 32> bytes{};

  bool is_zero() const { return *this == ObjectId{}; }
  bool operator==(const ObjectId&) const = default;
  auto operator<=>(const ObjectId&) const = default;

  static ObjectId from(ByteView thirty_two_bytes) {
    ObjectId id;
    std::memcpy(id.bytes.data(), thirty_two_bytes.data(), id.bytes.size());
    return id;
  }
  // The first 8 bytes in hexadecimal: enough to tell objects apart in an administrator's message.
  std::string short_text() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < 8; ++i) {
      auto value = std::to_integer<unsigned>(bytes[i]);
      text += kDigits[value >> 4];
      text += kDigits[value & 15];
    }
    return text;
  }
};

// Ids are uniform already: any eight bytes are a hash.
struct ObjectIdHash {
  std::size_t operator()(const ObjectId& id) const { return load_le<std::uint64_t>(id.bytes); }
};

}  // namespace roamstead::repository
