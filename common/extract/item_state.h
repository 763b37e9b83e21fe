// What provenance knows of one item of a profile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "common/base/bytes.h"
#include "common/profile/entry.h"
#include "common/profile/path.h"

namespace roamstead::extract {

inline constexpr std::uint32_t kTagBlockBytes = 4096;
using BlockTag = std::uint64_t;  // first 8 bytes of SHA-256 of the block's bytes (shorter at a stream's end),
                                 // little-endian, never 0
BlockTag block_tag(ByteView block);

// The file on the volume that an item is: MFT record number (48 bits), and sequence number where the agent
// can know it (0 where not: ntfs-3g does not show it; then the creation time tells a reuse of the record
// apart).
struct ItemIdentity {
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;
  std::uint64_t created_100ns = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(record, sequence, created_100ns);
  }
};

using ItemId = std::uint64_t;  // unique within a journal, from 1

struct ItemState {
  ItemId id = 0;
  ItemIdentity identity;
  ItemIdentity previous_identity;  // what it was before encode_identity announced the change; zero: never
  profile::ProfilePath base_path;  // in the pinned version
  profile::Entry entry;            // as published
  bool populated = false;          // directories
  bool withdrawn = false;          // never got its name after all
  bool placeholder = false;        // Windows asks for its bytes, or did (encode_dehydrated)
  std::size_t last_record_at = 0;  // offset in the journal of the latest record about this item
  struct StreamState {
    std::uint64_t base_limit = 0;                      // bytes from here on are not the base's
    std::unordered_map<std::uint64_t, BlockTag> tags;  // block index -> tag of the loaded bytes
    // The same of blocks that may have gone again since (encode_dehydrated): what the base has there.
    std::unordered_map<std::uint64_t, BlockTag> tags_before;
  };
  std::map<std::string, StreamState> streams;  // "" is the unnamed one
};

}  // namespace roamstead::extract
