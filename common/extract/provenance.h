// Provenance: what each item of a profile on a desktop's volume came from. An append-only journal that lies
// on that volume (outside the profile), so that every snapshot holds volume and provenance of the same
// instant.
//
// Laws:
//  1. An item is recorded, and the record flushed, before the item gets its name in the profile.
//  2. A block's tag is recorded only after its bytes are flushed. So a block without a tag that is all zero
//  has not been
//     loaded (base), one without a tag that is not zero is content, one with a tag is base exactly when its
//     bytes have that tag. Whoever writes to a block that is not loaded loads it first.
//  3. A shrunk stream is shrunk (and flushed) first, then its new base limit recorded and flushed, then may
//  grow again.
//  4. Records are never removed during a session; a directory's children are all published before
//  `populated`, which is flushed before programs see the directory.
// Losing the unflushed end of the journal therefore costs at most bytes sent in vain, never content.
//
// Format: docs/format-provenance.md.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/bytes.h"
#include "common/base/guid.h"
#include "common/profile/entry.h"
#include "common/profile/path.h"

namespace roamstead::extract {

inline constexpr std::size_t kMaxJournalBytes = 256u << 20;
inline constexpr std::size_t kMaxItems = 2'000'000;
inline constexpr std::size_t kMaxTagsPerRecord = 65'536;

inline constexpr std::uint32_t kTagBlockBytes = 4096;
using BlockTag = std::uint64_t;  // first 8 bytes of SHA-256 of the block's bytes (shorter at a stream's end),
                                 // little-endian, never 0
BlockTag block_tag(ByteView block);

// The file on the volume that an item is: MFT record number, and sequence number where the agent can know it
// (0 where not: ntfs-3g does not show it; then the creation time tells a reuse of the record apart).
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

// Which session the items belong to; the first record of a journal.
struct JournalHeader {
  Guid session;               // public id of the session (not its secret)
  std::string profile;        // SID
  std::uint64_t version = 0;  // pinned
  std::string profile_root;   // path of the profile on the volume, "Users/alice"
  std::string staging_root;   // items here are not published yet

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session, profile, version, profile_root, staging_root);
  }
};

struct ItemState {
  ItemId id = 0;
  ItemIdentity identity;
  ItemIdentity previous_identity;  // what it was before encode_identity announced the change; zero: never
  profile::ProfilePath base_path;  // in the pinned version
  profile::Entry entry;            // as published
  bool populated = false;          // directories
  bool withdrawn = false;          // never got its name after all
  std::size_t last_record_at = 0;  // offset in the journal of the latest record about this item
  struct StreamState {
    std::uint64_t base_limit = 0;                      // bytes from here on are not the base's
    std::unordered_map<std::uint64_t, BlockTag> tags;  // block index -> tag of the loaded bytes
  };
  std::map<std::string, StreamState> streams;  // "" is the unnamed one
};

// What a journal says, at one instant. Lookups by record and path skip withdrawn items.
class ProvenanceView {
 public:
  virtual ~ProvenanceView() = default;
  virtual const JournalHeader& header() const = 0;
  virtual const ItemState* find(ItemId id) const = 0;  // withdrawn ones too
  virtual const ItemState* find_by_record(
      std::uint64_t record) const = 0;  // the latest item with this MFT record
  virtual const ItemState* find_by_base(const profile::ProfilePath& path) const = 0;
  virtual std::size_t valid_bytes() const = 0;  // of the journal

 protected:
  ProvenanceView() = default;
  ProvenanceView(const ProvenanceView&) = default;
  ProvenanceView(ProvenanceView&&) = default;
  ProvenanceView& operator=(const ProvenanceView&) = default;
  ProvenanceView& operator=(ProvenanceView&&) = default;
};

class EarlierProvenance;

// The journal replayed. Not thread-safe by itself; const access is.
class Provenance final : public ProvenanceView {
 public:
  // Replays records until the end or the first one that is torn or breaks a rule (which ends the journal:
  // nothing from there on was acknowledged). Bounded against hostile input; ErrorCode::corrupt when not even
  // the header is there.
  static Result<Provenance> parse(ByteView journal);

  // Goes on with what follows valid_bytes() in the journal, as parse() does. `earlier` (made of this object
  // as it is) goes on saying what was said before.
  void extend(ByteView journal_from_valid_bytes, EarlierProvenance& earlier);

  const JournalHeader& header() const override { return header_; }
  const ItemState* find(ItemId id) const override;
  const ItemState* find_by_record(std::uint64_t record) const override;
  const ItemState* find_by_base(const profile::ProfilePath& path) const override;
  const std::map<ItemId, ItemState>& items() const { return items_; }
  // Those published at a path that a hive or one of its logs has, withdrawn ones too.
  const std::set<ItemId>& hive_items() const { return hive_items_; }
  std::size_t valid_bytes() const override { return valid_bytes_; }  // append there

 private:
  friend class ProvenanceJournal;
  friend class EarlierProvenance;
  // Takes in one whole record, appended at valid_bytes(). On error nothing has changed.
  Result<void> apply_encoded(ByteView record);
  Result<void> apply(std::uint8_t type, ByteView payload, std::size_t record_at);
  Result<void> add_item(ItemState item);
  Result<ItemState*> live_item(ItemId id, std::size_t record_at);
  void forget_record(const ItemState& item);

  JournalHeader header_;
  std::map<ItemId, ItemState> items_;
  std::set<ItemId> hive_items_;
  std::unordered_map<std::uint64_t, ItemId> by_record_;
  std::unordered_map<std::string, ItemId> by_base_;
  std::size_t valid_bytes_ = 0;
  EarlierProvenance* earlier_ = nullptr;  // while extend() runs
};

// What a journal said when it was shorter: it keeps what has changed since, and asks the longer one, which
// must outlive it and not move, for everything else. Valid until that one is extended for another.
class EarlierProvenance final : public ProvenanceView {
 public:
  explicit EarlierProvenance(const Provenance& now);

  const JournalHeader& header() const override { return now_.header(); }
  const ItemState* find(ItemId id) const override;
  const ItemState* find_by_record(std::uint64_t record) const override;
  const ItemState* find_by_base(const profile::ProfilePath& path) const override;
  std::size_t valid_bytes() const override { return valid_bytes_; }
  // The items that records since then speak of.
  std::set<ItemId> spoken_of_since() const;

 private:
  friend class Provenance;
  // Called before something changes for the first time, and afterwards without effect.
  void keep(const ItemState& item);
  void keep_record(std::uint64_t record);
  void keep_base(const std::string& path);

  const Provenance& now_;
  const ItemId last_id_;
  const std::size_t valid_bytes_;
  std::unordered_map<ItemId, ItemState> items_;
  std::unordered_map<std::uint64_t, ItemId> by_record_;  // 0: none
  std::unordered_map<std::string, ItemId> by_base_;
};

// Encodings of single journal records. Each is self-contained and checksummed; encode_header is the journal's
// beginning (magic, version, header record). Whoever keeps a journal open uses ProvenanceJournal instead.
Bytes encode_header(const JournalHeader& header);
// Ids ascend within a journal.
Bytes encode_published(ItemId id, const ItemIdentity& identity, const profile::ProfilePath& base_path,
                       const profile::Entry& entry);
Bytes encode_populated(ItemId id);
Bytes encode_withdrawn(ItemId id);
// At most kMaxTagsPerRecord tags.
Bytes encode_loaded(ItemId id, const std::string& stream, std::uint64_t first_block,
                    const std::vector<BlockTag>& tags);
// Limits only ever sink.
Bytes encode_base_limit(ItemId id, const std::string& stream, std::uint64_t limit_bytes);
// The item's identity as it is from now on: recorded (and flushed) before a program's change of the creation
// time is let through, and where the sequence number becomes known later.
Bytes encode_identity(ItemId id, const ItemIdentity& identity);

}  // namespace roamstead::extract
