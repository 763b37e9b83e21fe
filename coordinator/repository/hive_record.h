// What a hive's page tree holds of a key and of a value.
#pragma once

#include "common/profile/registry.h"
#include "coordinator/repository/node.h"

namespace roamstead::repository {

struct KeyRecord {
  // The key's name, case kept; "" of the root. Of a hashed key (hive_place.h) all names below its anchor, in
  // the case they had when the key was put.
  profile::KeyPath path;
  profile::KeyEntry entry;

  bool operator==(const KeyRecord&) const = default;
};

struct ValueRecord {
  std::string name;
  std::uint32_t type = 0;
  std::uint64_t size_bytes = 0;
  Content content;  // inline up to profile::kMaxInlineValueBytes, else pieces

  // As desktops see it: data only when inline.
  profile::RegistryValue value() const;
  bool operator==(const ValueRecord&) const = default;
};

Bytes encode_record(const KeyRecord& record);
Bytes encode_record(const ValueRecord& record);
Result<KeyRecord> parse_key_record(ByteView bytes);
Result<ValueRecord> parse_value_record(ByteView bytes);

}  // namespace roamstead::repository
