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
//     Beyond the base limit a tag only says what the base has there; it follows the record of that limit.
//  3. A shrunk stream is shrunk (and flushed) first, then its new base limit recorded and flushed, then may
//  grow again.
//  4. A stream whose loaded bytes are to go again (a placeholder that is dehydrated) holds nothing but the
//  base's; it is recorded, and the record flushed, before they go.
//  5. Records are never removed during a session; a directory's children are all published before
//  `populated`, which is flushed before programs see the directory.
// Losing the unflushed end of the journal therefore costs at most bytes sent in vain, never content.
//
// Format: docs/format-provenance.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/bytes.h"
#include "common/base/guid.h"
#include "common/extract/item_store.h"

namespace roamstead::extract {

inline constexpr std::size_t kMaxJournalBytes = 1u << 30;
inline constexpr std::size_t kMaxItems = 2'000'000;
inline constexpr std::size_t kMaxTagsPerRecord = 65'536;

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

// An item as it was when it was asked for. Two of them are the same item when their ids are.
using ItemPointer = std::shared_ptr<const ItemState>;  // null: none

// Where a journal is read from: fills `out` from the offset on, or fails.
using JournalSource = std::function<Result<void>(std::uint64_t offset, MutableByteView out)>;

// What a journal says, at one instant. Lookups by record and path skip withdrawn items.
class ProvenanceView {
 public:
  virtual ~ProvenanceView() = default;
  virtual const JournalHeader& header() const = 0;
  virtual ItemPointer find(ItemId id) const = 0;                       // withdrawn ones too
  virtual ItemPointer find_by_record(std::uint64_t record) const = 0;  // the latest item with this MFT record
  virtual ItemPointer find_by_base(const profile::ProfilePath& path) const = 0;
  virtual std::size_t valid_bytes() const = 0;  // of the journal

 protected:
  ProvenanceView() = default;
  ProvenanceView(const ProvenanceView&) = default;
  ProvenanceView(ProvenanceView&&) = default;
  ProvenanceView& operator=(const ProvenanceView&) = default;
  ProvenanceView& operator=(ProvenanceView&&) = default;
};

class EarlierProvenance;
class RecentItems;

// The journal replayed. Not thread-safe by itself; const access is.
class Provenance final : public ProvenanceView {
 public:
  // Replays records until the end or the first one that is torn or breaks a rule (which ends the journal:
  // nothing from there on was acknowledged). Bounded against hostile input; ErrorCode::corrupt when not even
  // the header is there.
  static Result<Provenance> parse(ByteView journal);
  // The same, a few MiB at a time. Errors of the source too.
  static Result<Provenance> parse(const JournalSource& source, std::uint64_t journal_bytes);
  Provenance(Provenance&&) noexcept;
  Provenance& operator=(Provenance&&) noexcept;
  ~Provenance() override;

  // Goes on with what follows valid_bytes() in the journal, as parse() does. `earlier` (made of this object
  // as it is) goes on saying what was said before. After an error, which is the source's, this is of no use.
  Result<void> extend(const JournalSource& source, std::uint64_t journal_bytes, EarlierProvenance& earlier);

  const JournalHeader& header() const override { return header_; }
  ItemPointer find(ItemId id) const override;
  ItemPointer find_by_record(std::uint64_t record) const override;
  ItemPointer find_by_base(const profile::ProfilePath& path) const override;
  std::size_t valid_bytes() const override { return valid_bytes_; }  // append there

  std::size_t item_count() const { return store_.size(); }
  // While it is put away nothing but header() and take_out() may be called, which throws std::bad_alloc.
  void put_away() noexcept { store_.put_away(); }
  void take_out() { store_.take_out(); }
  ItemId last_id() const;  // 0: no items
  // Calls with every item, in the order of ids, withdrawn ones too, one after the other: each is put together
  // and forgotten again. Ends with the first error.
  Result<void> for_each(const std::function<Result<void>(const ItemState&)>& see) const;
  // MFT records of items, not withdrawn, that records from this offset of the journal on speak of.
  std::vector<std::uint64_t> spoken_of_from(std::size_t offset) const;
  // Those published at a path that a hive or one of its logs has, withdrawn ones too.
  const std::set<ItemId>& hive_items() const { return hive_items_; }

 private:
  friend class ProvenanceJournal;
  friend class EarlierProvenance;
  Provenance();
  Result<void> replay(const JournalSource& source, std::uint64_t journal_bytes);
  // Takes in one whole record, appended at valid_bytes(). On error nothing has changed.
  Result<void> apply_encoded(ByteView record);
  Result<void> apply(std::uint8_t type, ByteView payload);
  Result<void> add_item(ItemState item);
  // A row to be changed, told to `earlier_`.
  Result<ItemStore::Row> live_item(ItemId id);
  ItemPointer item(ItemStore::Row row) const;

  JournalHeader header_;
  ItemStore store_;
  std::set<ItemId> hive_items_;
  std::size_t valid_bytes_ = 0;
  EarlierProvenance* earlier_ = nullptr;  // while extend() runs
  std::unique_ptr<RecentItems> recent_;
};

// What a journal said when it was shorter: it keeps what has changed since, and asks the longer one, which
// must outlive it and not move, for everything else. Valid until that one is extended for another.
class EarlierProvenance final : public ProvenanceView {
 public:
  explicit EarlierProvenance(const Provenance& now);
  ~EarlierProvenance() override;

  const JournalHeader& header() const override { return now_.header(); }
  ItemPointer find(ItemId id) const override;
  ItemPointer find_by_record(std::uint64_t record) const override;
  ItemPointer find_by_base(const profile::ProfilePath& path) const override;
  std::size_t valid_bytes() const override { return valid_bytes_; }
  // The items that records since then speak of.
  std::set<ItemId> spoken_of_since() const;

 private:
  friend class Provenance;
  // Called before something changes for the first time, and afterwards without effect.
  void keep(ItemStore::Row row);
  void keep_record(std::uint64_t record);
  void keep_base(const std::string& path);
  ItemPointer item(ItemStore::Row row) const;

  const Provenance& now_;
  const std::size_t row_count_;
  const ItemStore::Mark mark_;
  const std::size_t valid_bytes_;
  std::map<ItemStore::Row, std::uint32_t> last_record_at_;  // of those spoken of since
  std::unordered_map<std::uint64_t, ItemStore::Row> by_record_;
  std::unordered_map<std::string, ItemStore::Row> by_base_;
  std::unique_ptr<RecentItems> recent_;
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
// From now on Windows asks for the bytes of the item's unnamed stream (Cloud Files): what was said of loaded
// blocks before tells only what the base has (StreamState::tags_before). Recorded and flushed before the
// bytes go.
Bytes encode_dehydrated(ItemId id);

}  // namespace roamstead::extract
