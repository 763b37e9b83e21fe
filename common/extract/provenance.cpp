#include "common/extract/provenance.h"

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
constexpr std::uint64_t kMaxStreamBytes = std::uint64_t{1} << 60;  // keeps every later sum within 64 bits

enum class RecordType : std::uint8_t {
  header = 1,
  published = 2,
  populated = 3,
  withdrawn = 4,
  loaded = 5,
  base_limit = 6,
  identity = 7,
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

Result<Provenance> Provenance::parse(ByteView journal) {
  if (journal.size() > kMaxJournalBytes)
    return fail(ErrorCode::corrupt, "provenance journal: " + std::to_string(journal.size()) +
                                        " bytes, more than " + std::to_string(kMaxJournalBytes));
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
  while (provenance.valid_bytes_ < journal.size()) {
    if (!provenance.apply_encoded(journal.subspan(provenance.valid_bytes_))) break;
  }
  return provenance;
}

void Provenance::extend(ByteView journal_from_valid_bytes, EarlierProvenance& earlier) {
  const auto start = valid_bytes_;
  earlier_ = &earlier;
  while (valid_bytes_ - start < journal_from_valid_bytes.size())
    if (!apply_encoded(journal_from_valid_bytes.subspan(valid_bytes_ - start))) break;
  earlier_ = nullptr;
}

Result<void> Provenance::apply_encoded(ByteView record) {
  RS_TRY(auto raw, next_record(record));
  RS_CHECK(apply(raw.type, raw.payload, valid_bytes_));
  valid_bytes_ += raw.total_bytes;
  return {};
}

Result<void> Provenance::apply(std::uint8_t type, ByteView payload, std::size_t record_at) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::published: {
      RS_TRY(auto published, decode<PublishedPayload>(payload));
      ItemState item;
      item.id = published.id;
      item.identity = published.identity;
      item.base_path = std::move(published.base_path);
      item.entry = std::move(published.entry);
      item.last_record_at = record_at;
      return add_item(std::move(item));
    }
    case RecordType::populated: {
      RS_TRY(auto populated, decode<ItemPayload>(payload));
      RS_TRY(auto* item, live_item(populated.id, record_at));
      item->populated = true;
      return {};
    }
    case RecordType::withdrawn: {
      RS_TRY(auto withdrawn, decode<ItemPayload>(payload));
      RS_TRY(auto* item, live_item(withdrawn.id, record_at));
      item->withdrawn = true;
      forget_record(*item);
      if (auto at = by_base_.find(item->base_path.text()); at != by_base_.end() && at->second == item->id) {
        if (earlier_ != nullptr) earlier_->keep_base(at->first);
        by_base_.erase(at);
      }
      return {};
    }
    case RecordType::loaded: {
      RS_TRY(auto loaded, decode<LoadedPayload>(payload));
      RS_CHECK(check_stream(loaded.stream, 0));
      if (loaded.tags.size() > kMaxTagsPerRecord ||
          loaded.first_block > kMaxStreamBytes / kTagBlockBytes - loaded.tags.size())
        return fail(ErrorCode::corrupt, "tags of impossible blocks");
      RS_TRY(auto* item, live_item(loaded.id, record_at));
      auto& tags = item->streams[loaded.stream].tags;
      for (std::size_t i = 0; i < loaded.tags.size(); ++i) tags[loaded.first_block + i] = loaded.tags[i];
      return {};
    }
    case RecordType::base_limit: {
      RS_TRY(auto limit, decode<BaseLimitPayload>(payload));
      RS_CHECK(check_stream(limit.stream, 0));
      RS_TRY(auto* item, live_item(limit.id, record_at));
      auto& state = item->streams[limit.stream];
      state.base_limit = std::min(state.base_limit, limit.limit_bytes);
      return {};
    }
    case RecordType::identity: {
      RS_TRY(auto changed, decode<IdentityPayload>(payload));
      RS_TRY(auto* item, live_item(changed.id, record_at));
      forget_record(*item);
      if (earlier_ != nullptr) earlier_->keep_record(changed.identity.record);
      item->previous_identity = item->identity;
      item->identity = changed.identity;
      by_record_[item->identity.record] = item->id;
      return {};
    }
    case RecordType::header:
      break;
  }
  return fail(ErrorCode::corrupt, "a record of unknown type " + std::to_string(type));
}

Result<void> Provenance::add_item(ItemState item) {
  RS_CHECK(check_entry(item.entry));
  if (item.id == 0 || (!items_.empty() && item.id <= items_.rbegin()->first))
    return fail(ErrorCode::corrupt, "item ids do not ascend");
  if (items_.size() >= kMaxItems)
    return fail(ErrorCode::corrupt, "more than " + std::to_string(kMaxItems) + " items");
  item.streams[""].base_limit = item.entry.size_bytes;
  for (const auto& stream : item.entry.streams) item.streams[stream.name].base_limit = stream.size_bytes;
  if (earlier_ != nullptr) {
    earlier_->keep_record(item.identity.record);
    earlier_->keep_base(item.base_path.text());
  }
  by_record_[item.identity.record] = item.id;
  by_base_[item.base_path.text()] = item.id;
  const auto id = item.id;
  if (is_hive_path(item.base_path.text())) hive_items_.insert(id);
  items_.emplace_hint(items_.end(), id, std::move(item));
  return {};
}

Result<ItemState*> Provenance::live_item(ItemId id, std::size_t record_at) {
  auto at = items_.find(id);
  if (at == items_.end() || at->second.withdrawn)
    return fail(ErrorCode::corrupt, "item " + std::to_string(id) + " is not there or withdrawn");
  if (earlier_ != nullptr) earlier_->keep(at->second);
  at->second.last_record_at = record_at;
  return &at->second;
}

void Provenance::forget_record(const ItemState& item) {
  const auto at = by_record_.find(item.identity.record);
  if (at == by_record_.end() || at->second != item.id) return;
  if (earlier_ != nullptr) earlier_->keep_record(at->first);
  by_record_.erase(at);
}

const ItemState* Provenance::find(ItemId id) const {
  auto at = items_.find(id);
  return at == items_.end() ? nullptr : &at->second;
}

const ItemState* Provenance::find_by_record(std::uint64_t record) const {
  auto at = by_record_.find(record);
  return at == by_record_.end() ? nullptr : find(at->second);
}

const ItemState* Provenance::find_by_base(const profile::ProfilePath& path) const {
  auto at = by_base_.find(path.text());
  return at == by_base_.end() ? nullptr : find(at->second);
}

EarlierProvenance::EarlierProvenance(const Provenance& now)
    : now_(now),
      last_id_(now.items().empty() ? 0 : now.items().rbegin()->first),
      valid_bytes_(now.valid_bytes()) {}

const ItemState* EarlierProvenance::find(ItemId id) const {
  if (id == 0 || id > last_id_) return nullptr;
  const auto at = items_.find(id);
  return at == items_.end() ? now_.find(id) : &at->second;
}

const ItemState* EarlierProvenance::find_by_record(std::uint64_t record) const {
  if (const auto at = by_record_.find(record); at != by_record_.end()) return find(at->second);
  const auto* item = now_.find_by_record(record);
  return item == nullptr ? nullptr : find(item->id);
}

const ItemState* EarlierProvenance::find_by_base(const profile::ProfilePath& path) const {
  if (const auto at = by_base_.find(path.text()); at != by_base_.end()) return find(at->second);
  const auto* item = now_.find_by_base(path);
  return item == nullptr ? nullptr : find(item->id);
}

std::set<ItemId> EarlierProvenance::spoken_of_since() const {
  std::set<ItemId> ids;
  for (const auto& [id, item] : items_) ids.insert(id);
  for (auto at = now_.items().upper_bound(last_id_); at != now_.items().end(); ++at) ids.insert(at->first);
  return ids;
}

void EarlierProvenance::keep(const ItemState& item) {
  if (item.id <= last_id_) items_.try_emplace(item.id, item);
}

void EarlierProvenance::keep_record(std::uint64_t record) {
  const auto at = now_.by_record_.find(record);
  by_record_.try_emplace(record, at == now_.by_record_.end() ? 0 : at->second);
}

void EarlierProvenance::keep_base(const std::string& path) {
  const auto at = now_.by_base_.find(path);
  by_base_.try_emplace(path, at == now_.by_base_.end() ? 0 : at->second);
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

}  // namespace roamstead::extract
