// Object ids, compression and encryption: what turns plain objects into what lies on shared storage, and
// back.
//
// A sealed object is nonce (12 bytes, random) | AES-256-GCM ciphertext | tag (16 bytes). Id and type are
// authenticated with it, so a record cannot stand in for another. Thread-safe.
#pragma once

#include <memory>

#include "coordinator/repository/object.h"

namespace roamstead::repository {

using Key = std::array<std::byte, 32>;
Key random_key();

inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;

// Makes object ids under the repository's id key.
class ObjectIdMaker {
 public:
  explicit ObjectIdMaker(const Key& key) : key_(key) {}
  // `profile` is zero for what all profiles share (chunks).
  ObjectId make(ObjectType type, const Guid& profile, ByteView content) const;

 private:
  Key key_;
};

struct Sealed {
  bool compressed = false;
  Bytes payload;
};
// Compresses where that helps, then encrypts.
Sealed seal(const Key& key, const ObjectId& id, ObjectType type, ByteView content);
// ErrorCode::corrupt when the payload is not what seal() made under this key, id and type, or is not
// `content_bytes` long.
Result<Bytes> unseal(const Key& key, const ObjectId& id, ObjectType type, bool compressed, ByteView payload,
                     std::size_t content_bytes);

}  // namespace roamstead::repository
