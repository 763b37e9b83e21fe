#include "common/extract/provenance.h"

#include <algorithm>
#include <array>
#include <mutex>

#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>

#include "common/base/archive.h"
#include "common/base/crc32c.h"
#include "common/base/sha256.h"
#include "common/extract/live_hive.h"
#include "common/profile/batch.h"  // how a Guid is encoded

namespace roamstead::extract {
namespace {

constexpr std::string_view kJournalMagic = "RSPROVEN";
constexpr std::uint32_t kJournalVersion = 1;
constexpr std::size_t kPreambleBytes = 16;      // magic, version, zero
constexpr std::size_t kRecordHeaderBytes = 12;  // CRC-32C of what follows, payload length, type, three zeros
constexpr std::size_t kMaxPayloadBytes = 1u << 20;
constexpr std::size_t kMaxRecordBytes = kRecordHeaderBytes + kMaxPayloadBytes;
constexpr std::size_t kReadBytes = 4u << 20;                       // at once; at least a record
constexpr std::uint64_t kMaxStreamBytes = std::uint64_t{1} << 60;  // keeps every later sum within 64 bits

enum class RecordType : std::uint8_t {
  header = 1,
  published = 2,
  populated = 3,
  withdrawn = 4,
  loaded = 5,
  base_limit = 6,
  identity = 7,
  dehydrated = 8,
};

struct PublishedPayload {
  ItemId id = 0;
  ItemIdentity identity;
  profile::ProfilePath base_path;
  profile::Entry entry;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, identity, base_path, entry);
  }
};

struct ItemPayload {  // populated, withdrawn
  ItemId id = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id);
  }
};

struct LoadedPayload {
  ItemId id = 0;
  std::string stream;
  std::uint64_t first_block = 0;
  std::vector<BlockTag> tags;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, stream, first_block, tags);
  }
};

struct BaseLimitPayload {
  ItemId id = 0;
  std::string stream;
  std::uint64_t limit_bytes = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, stream, limit_bytes);
  }
};

struct IdentityPayload {
  ItemId id = 0;
  ItemIdentity identity;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, identity);
  }
};

template <class T>
Bytes encode_record(RecordType type, const T& value) {
  Bytes payload = encode(value);
  Bytes record(kRecordHeaderBytes + payload.size());
  store_le<std::uint32_t>(record, 4, static_cast<std::uint32_t>(payload.size()));
  record[8] = static_cast<std::byte>(type);
  std::copy(payload.begin(), payload.end(), record.begin() + kRecordHeaderBytes);
  store_le<std::uint32_t>(record, 0, crc32c(ByteView(record).subspan(4)));
  return record;
}

struct RawRecord {
  std::uint8_t type = 0;
  ByteView payload;
  std::size_t total_bytes = 0;
};

Result<RawRecord> next_record(ByteView rest) {
  if (rest.size() < kRecordHeaderBytes) return fail(ErrorCode::corrupt, "a record ends early");
  const auto length = load_le<std::uint32_t>(rest, 4);
  if (length > kMaxPayloadBytes || length > rest.size() - kRecordHeaderBytes)
    return fail(ErrorCode::corrupt, "a record claims " + std::to_string(length) + " bytes");
  const auto checked = rest.subspan(4, kRecordHeaderBytes - 4 + length);
  if (crc32c(checked) != load_le<std::uint32_t>(rest))
    return fail(ErrorCode::corrupt, "a record's checksum is wrong");
  return RawRecord{std::to_integer<std::uint8_t>(rest[8]), rest.subspan(kRecordHeaderBytes, length),
                   kRecordHeaderBytes + length};
}

Result<void> check_stream(const std::string& name, std::uint64_t size_bytes) {
  if (!name.empty()) RS_CHECK(profile::check_name(name));
  if (size_bytes > kMaxStreamBytes) return fail(ErrorCode::corrupt, "a stream of impossible size");
  return {};
}

Result<void> check_entry(const profile::Entry& entry) {
  if (entry.kind > profile::kLastEntryKind) return fail(ErrorCode::corrupt, "an entry of unknown kind");
  RS_CHECK(check_stream("", entry.size_bytes));
  for (const auto& stream : entry.streams) {
    if (stream.name.empty()) return fail(ErrorCode::corrupt, "an alternate stream without a name");
    RS_CHECK(check_stream(stream.name, stream.size_bytes));
  }
  return {};
}

}  // namespace

BlockTag block_tag(ByteView block) {
  const auto tag = load_le<std::uint64_t>(sha256(block));
  return tag == 0 ? 1 : tag;
}

// Items put together lately: what one candidate's extraction asks for is asked several times. Thread-safe.
class RecentItems {
 public:
  template <class Make>
  ItemPointer get(ItemStore::Row row, const Make& make) {
    auto& slot = slots_[row % slots_.size()];
    {
      std::lock_guard lock(mutex_);
      if (slot.item != nullptr && slot.row == row) return slot.item;
    }
    auto item = std::make_shared<const ItemState>(make());
    std::lock_guard lock(mutex_);
    slot = {row, item};
    return item;
  }
  void forget(ItemStore::Row row) {
    std::lock_guard lock(mutex_);
    if (auto& slot = slots_[row % slots_.size()]; slot.row == row) slot.item = nullptr;
  }

 private:
  struct Slot {
    ItemStore::Row row = 0;
    ItemPointer item;
  };
  std::mutex mutex_;
  std::array<Slot, 64> slots_;
};

Provenance::Provenance() : recent_(std::make_unique<RecentItems>()) {}
Provenance::Provenance(Provenance&&) noexcept = default;
Provenance& Provenance::operator=(Provenance&&) noexcept = default;
Provenance::~Provenance() = default;

Result<Provenance> Provenance::parse(ByteView journal) {
  return parse(
      [&](std::uint64_t offset, MutableByteView out) -> Result<void> {
        const auto part = journal.subspan(offset, out.size());
        std::copy(part.begin(), part.end(), out.begin());
        return {};
      },
      journal.size());
}

Result<Provenance> Provenance::parse(const JournalSource& source, std::uint64_t journal_bytes) {
  if (journal_bytes > kMaxJournalBytes)
    return fail(ErrorCode::corrupt, "provenance journal: " + std::to_string(journal_bytes) +
                                        " bytes, more than " + std::to_string(kMaxJournalBytes));
  Bytes start(std::min<std::uint64_t>(journal_bytes, kPreambleBytes + kMaxRecordBytes));
  RS_CHECK(source(0, start));
  const ByteView journal(start);
  if (journal.size() < kPreambleBytes || as_text(journal.first(kJournalMagic.size())) != kJournalMagic)
    return fail(ErrorCode::corrupt,
                "provenance journal: offset 0: '" + std::string(kJournalMagic) + "' expected");
  if (const auto version = load_le<std::uint32_t>(journal, 8); version != kJournalVersion)
    return fail(ErrorCode::unsupported, "provenance journal: offset 8: version " + std::to_string(version) +
                                            ", " + std::to_string(kJournalVersion) + " expected");
  Provenance provenance;
  RS_TRY_CTX(auto first, "provenance journal: offset " + std::to_string(kPreambleBytes),
             next_record(journal.subspan(kPreambleBytes)));
  if (first.type != static_cast<std::uint8_t>(RecordType::header))
    return fail(ErrorCode::corrupt, "provenance journal: offset " + std::to_string(kPreambleBytes) +
                                        ": a header record expected");
  RS_TRY_CTX(provenance.header_, "provenance journal: header", decode<JournalHeader>(first.payload));
  // They are used as paths on the volume.
  RS_CHECK_CTX("provenance journal: profile root",
               profile::ProfilePath::parse(provenance.header_.profile_root));
  RS_CHECK_CTX("provenance journal: staging root",
               profile::ProfilePath::parse(provenance.header_.staging_root));
  provenance.valid_bytes_ = kPreambleBytes + first.total_bytes;
  RS_CHECK(provenance.replay(source, journal_bytes));
  return provenance;
}

Result<void> Provenance::replay(const JournalSource& source, std::uint64_t journal_bytes) {
  Bytes part;
  while (valid_bytes_ < journal_bytes) {
    const auto start = valid_bytes_;
    part.resize(std::min<std::uint64_t>(journal_bytes - start, kReadBytes));
    RS_CHECK(source(start, part));
    const bool last = start + part.size() == journal_bytes;
    // A record that could reach beyond what was read waits for the next part.
    while (valid_bytes_ - start + (last ? 1 : kMaxRecordBytes) <= part.size())
      if (!apply_encoded(ByteView(part).subspan(valid_bytes_ - start))) return {};
  }
  return {};
}

Result<void> Provenance::extend(const JournalSource& source, std::uint64_t journal_bytes,
                                EarlierProvenance& earlier) {
  earlier_ = &earlier;
  auto done = replay(source, journal_bytes);
  earlier_ = nullptr;
  return done;
}

Result<void> Provenance::apply_encoded(ByteView record) {
  RS_TRY(auto raw, next_record(record));
  RS_CHECK(apply(raw.type, raw.payload));
  valid_bytes_ += raw.total_bytes;
  return {};
}

Result<void> Provenance::apply(std::uint8_t type, ByteView payload) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::published: {
      RS_TRY(auto published, decode<PublishedPayload>(payload));
      ItemState item;
      item.id = published.id;
      item.identity = published.identity;
      item.base_path = std::move(published.base_path);
      item.entry = std::move(published.entry);
      item.last_record_at = valid_bytes_;
      return add_item(std::move(item));
    }
    case RecordType::populated: {
      RS_TRY(auto populated, decode<ItemPayload>(payload));
      RS_TRY(const auto row, live_item(populated.id));
      RS_CHECK(store_.populate(row));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::withdrawn: {
      RS_TRY(auto withdrawn, decode<ItemPayload>(payload));
      RS_TRY(const auto row, live_item(withdrawn.id));
      if (earlier_ != nullptr) {
        earlier_->keep_record(store_.record(row));
        earlier_->keep_base(store_.base_path(row).text());
      }
      RS_CHECK(store_.withdraw(row));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::loaded: {
      RS_TRY(auto loaded, decode<LoadedPayload>(payload));
      RS_CHECK(check_stream(loaded.stream, 0));
      if (loaded.tags.size() > kMaxTagsPerRecord ||
          loaded.first_block > kMaxStreamBytes / kTagBlockBytes - loaded.tags.size())
        return fail(ErrorCode::corrupt, "tags of impossible blocks");
      RS_TRY(const auto row, live_item(loaded.id));
      RS_CHECK(store_.load(row, loaded.stream, loaded.first_block, loaded.tags));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::base_limit: {
      RS_TRY(auto limit, decode<BaseLimitPayload>(payload));
      RS_CHECK(check_stream(limit.stream, 0));
      RS_TRY(const auto row, live_item(limit.id));
      RS_CHECK(store_.limit(row, limit.stream, limit.limit_bytes));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::identity: {
      RS_TRY(auto changed, decode<IdentityPayload>(payload));
      RS_TRY(const auto row, live_item(changed.id));
      if (earlier_ != nullptr) {
        earlier_->keep_record(store_.record(row));
        earlier_->keep_record(changed.identity.record);
      }
      RS_CHECK(store_.identify(row, changed.identity));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::dehydrated: {
      RS_TRY(auto dehydrated, decode<ItemPayload>(payload));
      RS_TRY(const auto row, live_item(dehydrated.id));
      RS_CHECK(store_.dehydrate(row));
      store_.set_last_record_at(row, static_cast<std::uint32_t>(valid_bytes_));
      return {};
    }
    case RecordType::header:
      break;
  }
  return fail(ErrorCode::corrupt, "a record of unknown type " + std::to_string(type));
}

Result<void> Provenance::add_item(ItemState item) {
  RS_CHECK(check_entry(item.entry));
  if (item.id == 0 || item.id <= last_id()) return fail(ErrorCode::corrupt, "item ids do not ascend");
  if (item_count() >= kMaxItems)
    return fail(ErrorCode::corrupt, "more than " + std::to_string(kMaxItems) + " items");
  if (earlier_ != nullptr) {
    earlier_->keep_record(item.identity.record);
    earlier_->keep_base(item.base_path.text());
  }
  RS_CHECK(store_.publish(item));
  if (is_hive_path(item.base_path.text())) hive_items_.insert(item.id);
  return {};
}

Result<ItemStore::Row> Provenance::live_item(ItemId id) {
  const auto row = store_.find(id);
  if (row == ItemStore::kNone || store_.withdrawn(row))
    return fail(ErrorCode::corrupt, "item " + std::to_string(id) + " is not there or withdrawn");
  if (earlier_ != nullptr) earlier_->keep(row);
  recent_->forget(row);
  return row;
}

ItemPointer Provenance::item(ItemStore::Row row) const {
  if (row == ItemStore::kNone) return nullptr;
  return recent_->get(row, [&] { return store_.state(row, store_.now()); });
}

ItemId Provenance::last_id() const {
  return item_count() == 0 ? 0 : store_.id(static_cast<ItemStore::Row>(item_count() - 1));
}

ItemPointer Provenance::find(ItemId id) const { return item(store_.find(id)); }

ItemPointer Provenance::find_by_record(std::uint64_t record) const {
  return item(store_.find_by_record(record));
}

ItemPointer Provenance::find_by_base(const profile::ProfilePath& path) const {
  return item(store_.find_by_base(path.text()));
}

Result<void> Provenance::for_each(const std::function<Result<void>(const ItemState&)>& see) const {
  for (ItemStore::Row row = 0; row < item_count(); ++row) RS_CHECK(see(store_.state(row, store_.now())));
  return {};
}

std::vector<std::uint64_t> Provenance::spoken_of_from(std::size_t offset) const {
  std::vector<std::uint64_t> records;
  for (ItemStore::Row row = 0; row < item_count(); ++row)
    if (store_.last_record_at(row) >= offset && !store_.withdrawn(row)) records.push_back(store_.record(row));
  return records;
}

EarlierProvenance::EarlierProvenance(const Provenance& now)
    : now_(now),
      row_count_(now.item_count()),
      mark_(now.store_.now()),
      valid_bytes_(now.valid_bytes()),
      recent_(std::make_unique<RecentItems>()) {}

EarlierProvenance::~EarlierProvenance() = default;

ItemPointer EarlierProvenance::item(ItemStore::Row row) const {
  if (row >= row_count_) return nullptr;
  const auto changed = last_record_at_.find(row);
  if (changed == last_record_at_.end()) return now_.item(row);
  return recent_->get(row, [&] {
    auto state = now_.store_.state(row, mark_);
    state.last_record_at = changed->second;
    return state;
  });
}

ItemPointer EarlierProvenance::find(ItemId id) const { return item(now_.store_.find(id)); }

ItemPointer EarlierProvenance::find_by_record(std::uint64_t record) const {
  const auto at = by_record_.find(record);
  return item(at == by_record_.end() ? now_.store_.find_by_record(record) : at->second);
}

ItemPointer EarlierProvenance::find_by_base(const profile::ProfilePath& path) const {
  const auto at = by_base_.find(path.text());
  return item(at == by_base_.end() ? now_.store_.find_by_base(path.text()) : at->second);
}

std::set<ItemId> EarlierProvenance::spoken_of_since() const {
  std::set<ItemId> ids;
  for (const auto& [row, offset] : last_record_at_) ids.insert(now_.store_.id(row));
  for (auto row = row_count_; row < now_.item_count(); ++row)
    ids.insert(now_.store_.id(static_cast<ItemStore::Row>(row)));
  return ids;
}

void EarlierProvenance::keep(ItemStore::Row row) {
  if (row < row_count_) last_record_at_.try_emplace(row, now_.store_.last_record_at(row));
}

void EarlierProvenance::keep_record(std::uint64_t record) {
  by_record_.try_emplace(record, now_.store_.find_by_record(record));
}

void EarlierProvenance::keep_base(const std::string& path) {
  by_base_.try_emplace(path, now_.store_.find_by_base(path));
}

Bytes encode_header(const JournalHeader& header) {
  ByteWriter journal;
  journal.bytes(as_bytes(kJournalMagic));
  journal.le<std::uint32_t>(kJournalVersion);
  journal.le<std::uint32_t>(0);
  journal.bytes(encode_record(RecordType::header, header));
  return journal.take();
}

Bytes encode_published(ItemId id, const ItemIdentity& identity, const profile::ProfilePath& base_path,
                       const profile::Entry& entry) {
  return encode_record(RecordType::published, PublishedPayload{id, identity, base_path, entry});
}

Bytes encode_populated(ItemId id) { return encode_record(RecordType::populated, ItemPayload{id}); }

Bytes encode_withdrawn(ItemId id) { return encode_record(RecordType::withdrawn, ItemPayload{id}); }

Bytes encode_loaded(ItemId id, const std::string& stream, std::uint64_t first_block,
                    const std::vector<BlockTag>& tags) {
  return encode_record(RecordType::loaded, LoadedPayload{id, stream, first_block, tags});
}

Bytes encode_base_limit(ItemId id, const std::string& stream, std::uint64_t limit_bytes) {
  return encode_record(RecordType::base_limit, BaseLimitPayload{id, stream, limit_bytes});
}

Bytes encode_identity(ItemId id, const ItemIdentity& identity) {
  return encode_record(RecordType::identity, IdentityPayload{id, identity});
}

Bytes encode_dehydrated(ItemId id) { return encode_record(RecordType::dehydrated, ItemPayload{id}); }

}  // namespace roamstead::extract
