#include "common/extract/item_store.h"

#include <algorithm>
#include <utility>

#include "common/base/guid.h"

namespace roamstead::extract {
namespace {

// Of 32 bits 20 are a place within a piece; the last piece is left out so that the end has a mark too.
constexpr std::size_t kMostPieces = (1u << 12) - 1;
constexpr std::uint64_t kMostRecord = (std::uint64_t{1} << 48) - 1;

enum class NoteKind : std::uint8_t { published, populated, withdrawn, loaded, limit, identity, dehydrated };

// What a published note holds besides what every one does.
constexpr std::uint8_t kOwnCreated = 1;  // the entry's creation time is not the identity's
constexpr std::uint8_t kSecurity = 2;
constexpr std::uint8_t kStreams = 4;
constexpr std::uint8_t kLinkTarget = 8;
constexpr std::uint8_t kLinkGroup = 16;
constexpr std::uint8_t kReparseTag = 32;

// Reads what Note wrote; there is no other source of these bytes.
class NoteReader {
 public:
  explicit NoteReader(const std::byte* at) : at_(at) {}

  std::uint8_t byte() { return std::to_integer<std::uint8_t>(*at_++); }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto next = byte();
      value |= std::uint64_t{next & 0x7fu} << shift;
      if (next < 0x80) return value;
    }
  }
  std::uint64_t fixed() {
    std::uint64_t value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string_view text() {
    const auto length = number();
    const std::string_view text(reinterpret_cast<const char*>(at_), length);
    at_ += length;
    return text;
  }
  // Differences of times are small and of either sign.
  std::uint64_t difference() {
    const auto value = number();
    return (value >> 1) ^ (~(value & 1) + 1);
  }

 private:
  const std::byte* at_;
};

std::uint32_t mix(std::uint64_t value) {
  value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdULL;
  value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return static_cast<std::uint32_t>(value >> 32);
}

std::uint64_t packed(const ItemIdentity& identity) { return identity.record << 16 | identity.sequence; }

}  // namespace

class ItemStore::Note {
 public:
  explicit Note(NoteKind kind) { byte(static_cast<std::uint8_t>(kind)); }

  void byte(std::uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
    byte(static_cast<std::uint8_t>(value));
  }
  void fixed(std::uint64_t value) {
    const auto at = bytes_.size();
    bytes_.resize(at + sizeof value);
    store_le(bytes_, at, value);
  }
  void text(std::string_view value) {
    number(value.size());
    const auto bytes = as_bytes(value);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void difference(std::uint64_t value) { number(value << 1 ^ (~(value >> 63) + 1)); }
  void identity(const ItemIdentity& identity) {
    number(identity.record);
    number(identity.sequence);
    fixed(identity.created_100ns);
  }
  ByteView view() const { return bytes_; }

 private:
  Bytes bytes_;
};

namespace {

ItemIdentity read_identity(NoteReader& note) {
  ItemIdentity identity;
  identity.record = note.number();
  identity.sequence = static_cast<std::uint16_t>(note.number());
  identity.created_100ns = note.fixed();
  return identity;
}

}  // namespace

os::IdleMemory ItemStore::Table::grow_to(std::size_t slots) {
  os::IdleMemory before = std::exchange(memory_, os::IdleMemory(slots * sizeof(Row)));
  slot_count_ = slots;
  std::fill_n(this->slots(), slots, kNone);
  return before;
}

template <class Hash, class Same>
ItemStore::Row ItemStore::Table::find(std::uint32_t hash, const Hash& hash_of, const Same& same) const {
  const auto mask = slot_count_ - 1;
  for (auto at = hash & mask;; at = (at + 1) & mask) {
    const auto row = slots()[at];
    if (row == kNone || (hash_of(row) == hash && same(row))) return row;
  }
}

template <class Hash>
void ItemStore::Table::insert(Row row, const Hash& hash_of) {
  const auto place = [&](Row each) {
    const auto mask = slot_count_ - 1;
    auto at = hash_of(each) & mask;
    while (slots()[at] != kNone) at = (at + 1) & mask;
    slots()[at] = each;
  };
  if ((used_ + 1) * 4 > slot_count_ * 3) {
    const auto before = grow_to(slot_count_ * 2);
    const auto* old = reinterpret_cast<const Row*>(before.data());
    for (const auto* each = old; each != old + before.size() / sizeof(Row); ++each)
      if (*each != kNone) place(*each);
  }
  place(row);
  ++used_;
}

template <class Hash>
void ItemStore::Table::replace(Row old, Row row, const Hash& hash_of) {
  const auto mask = slot_count_ - 1;
  auto at = hash_of(old) & mask;
  while (slots()[at] != old) at = (at + 1) & mask;
  slots()[at] = row;
}

template <class Hash>
void ItemStore::Table::erase(Row row, const Hash& hash_of) {
  const auto mask = slot_count_ - 1;
  auto gap = hash_of(row) & mask;
  while (slots()[gap] != row) gap = (gap + 1) & mask;
  // Who stands behind the gap only because it was taken moves up.
  for (auto at = (gap + 1) & mask; slots()[at] != kNone; at = (at + 1) & mask) {
    const auto home = hash_of(slots()[at]) & mask;
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    slots()[gap] = slots()[at];
    gap = at;
  }
  slots()[gap] = kNone;
  --used_;
}

ItemStore::ItemStore() : seed_(load_le<std::uint64_t>(Guid::random().bytes)) {}

template <class Function>
void ItemStore::with_memory(Function&& function) {
  for (auto& each : rows_) function(each);
  for (auto& each : pieces_) function(each);
  function(by_record_.memory());
  function(by_base_.memory());
}

void ItemStore::put_away() noexcept {
  with_memory([](os::IdleMemory& memory) { memory.put_away(); });
}

void ItemStore::take_out() {
  with_memory([](os::IdleMemory& memory) { memory.take_out(); });
}

std::uint32_t ItemStore::hash(std::string_view path) const {
  auto value = seed_ ^ path.size();
  while (!path.empty()) {
    std::uint64_t word = 0;
    const auto count = std::min(path.size(), sizeof word);
    std::memcpy(&word, path.data(), count);
    path.remove_prefix(count);
    value = (value ^ word) * 0x9fb21c651e98df25ULL;
    value ^= value >> 29;
  }
  return mix(value);
}

std::uint32_t ItemStore::hash(std::uint64_t record) const { return mix(record ^ seed_); }

const std::byte* ItemStore::note(Mark mark) const {
  return pieces_[mark >> kNoteBits].data() + (mark & ((1u << kNoteBits) - 1));
}

Result<ItemStore::Mark> ItemStore::add_note(ByteView bytes) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << kNoteBits;
  if (bytes.size() > kPieceBytes) return fail(ErrorCode::corrupt, "more said of an item than a record holds");
  if (pieces_.empty() || piece_bytes_ + bytes.size() > kPieceBytes) {
    if (pieces_.size() == kMostPieces) return fail(ErrorCode::corrupt, "more said of items than fits");
    pieces_.emplace_back(kPieceBytes);
    piece_bytes_ = 0;
  }
  const auto mark = static_cast<Mark>((pieces_.size() - 1) * kPieceBytes + piece_bytes_);
  std::copy(bytes.begin(), bytes.end(), pieces_.back().data() + piece_bytes_);
  piece_bytes_ += bytes.size();
  next_note_ = mark + static_cast<Mark>(bytes.size());
  return mark;
}

// Behind the note's kind comes where the item's note before it is.
Result<void> ItemStore::add_note_to(Row row, const Note& note) {
  Bytes bytes(sizeof(Mark) + note.view().size());
  bytes[0] = note.view().front();
  store_le<Mark>(bytes, 1, at(row).last_note);
  std::copy(note.view().begin() + 1, note.view().end(), bytes.begin() + 1 + sizeof(Mark));
  RS_TRY(at(row).last_note, add_note(bytes));
  return {};
}

ItemStore::Row ItemStore::find(ItemId id) const {
  if (row_count_ == 0 || id < at(0).id) return kNone;
  // Mostly there are no gaps.
  if (const auto guess = id - at(0).id; guess < row_count_ && at(static_cast<Row>(guess)).id == id)
    return static_cast<Row>(guess);
  Row low = 0, high = static_cast<Row>(row_count_);
  while (low < high) {
    const auto middle = low + (high - low) / 2;
    if (at(middle).id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < row_count_ && at(low).id == id ? low : kNone;
}

ItemStore::Row ItemStore::find_by_record(std::uint64_t record) const {
  if (record > kMostRecord) return kNone;
  return by_record_.find(
      hash(record), [this](Row row) { return hash(this->record(row)); },
      [&](Row row) { return this->record(row) == record; });
}

ItemStore::Row ItemStore::row_at_path(std::string_view path, std::uint32_t hash) const {
  return by_base_.find(
      hash, [this](Row row) { return at(row).path_hash; }, [&](Row row) { return has_path(row, path); });
}

ItemStore::Row ItemStore::find_by_base(std::string_view path) const { return row_at_path(path, hash(path)); }

std::string_view ItemStore::name(Row row) const {
  NoteReader reader(note(at(row).published) + 2);  // behind its kind and what it holds
  return reader.text();
}

bool ItemStore::has_path(Row row, std::string_view path) const {
  for (;;) {
    const auto own = name(row);
    if (!path.ends_with(own)) return false;
    path.remove_suffix(own.size());
    row = at(row).directory;
    if (row == kNone) return path.empty();
    if (at(row).directory == kNone && name(row).empty()) return path.empty();  // below the root
    if (path.empty() || path.back() != '/') return false;
    path.remove_suffix(1);
  }
}

profile::ProfilePath ItemStore::base_path(Row row) const {
  std::vector<std::string_view> names;
  for (; row != kNone; row = at(row).directory) names.push_back(name(row));
  profile::ProfilePath path;
  for (auto each = names.rbegin(); each != names.rend(); ++each) {
    auto rest = *each;
    while (!rest.empty()) {
      const auto slash = rest.find('/');
      path = path.child(rest.substr(0, slash));
      rest.remove_prefix(slash == rest.npos ? rest.size() : slash + 1);
    }
  }
  return path;
}

ItemState ItemStore::state(Row row, Mark mark) const {
  const auto& item = at(row);
  std::vector<Mark> later;
  for (auto at = item.last_note; at != item.published; at = load_le<Mark>({note(at) + 1, sizeof(Mark)}))
    if (at < mark) later.push_back(at);

  ItemState state;
  state.id = item.id;
  state.last_record_at = item.last_record_at;
  state.base_path = base_path(row);
  NoteReader published(note(item.published) + 1);
  const auto holds = published.byte();
  published.text();
  state.identity = read_identity(published);
  auto& entry = state.entry;
  entry.kind = static_cast<profile::EntryKind>(published.byte());
  entry.metadata.attributes = static_cast<std::uint32_t>(published.number());
  entry.metadata.created_100ns =
      (holds & kOwnCreated) != 0 ? published.fixed() : state.identity.created_100ns;
  entry.metadata.written_100ns = entry.metadata.created_100ns + published.difference();
  entry.size_bytes = published.number();
  if ((holds & kSecurity) != 0) entry.metadata.security = *securities_[published.number()];
  if ((holds & kStreams) != 0)
    for (auto count = published.number(); count != 0; --count) {
      auto& stream = entry.streams.emplace_back();
      stream.name = published.text();
      stream.size_bytes = published.number();
    }
  if ((holds & kLinkTarget) != 0) entry.link_target = published.text();
  if ((holds & kLinkGroup) != 0) entry.link_group = published.fixed();
  if ((holds & kReparseTag) != 0) entry.reparse_tag = static_cast<std::uint32_t>(published.number());
  state.streams[""].base_limit = entry.size_bytes;
  for (const auto& stream : entry.streams) state.streams[stream.name].base_limit = stream.size_bytes;

  for (auto at = later.rbegin(); at != later.rend(); ++at) {
    NoteReader reader(note(*at));
    const auto kind = static_cast<NoteKind>(reader.byte());
    reader = NoteReader(note(*at) + 1 + sizeof(Mark));
    switch (kind) {
      case NoteKind::published:
        break;
      case NoteKind::populated:
        state.populated = true;
        break;
      case NoteKind::withdrawn:
        state.withdrawn = true;
        break;
      case NoteKind::loaded: {
        auto& tags = state.streams[std::string(reader.text())].tags;
        auto block = reader.number();
        for (auto count = reader.number(); count != 0; --count) tags[block++] = reader.fixed();
        break;
      }
      case NoteKind::limit: {
        auto& stream = state.streams[std::string(reader.text())];
        stream.base_limit = std::min(stream.base_limit, reader.number());
        break;
      }
      case NoteKind::identity:
        state.previous_identity = state.identity;
        state.identity = read_identity(reader);
        break;
      case NoteKind::dehydrated: {
        state.placeholder = true;
        auto& stream = state.streams[""];
        for (const auto& [block, tag] : stream.tags) stream.tags_before.insert_or_assign(block, tag);
        stream.tags.clear();
        break;
      }
    }
  }
  return state;
}

std::uint32_t ItemStore::intern_security(const Bytes& security) {
  const auto [at, added] =
      security_numbers_.emplace(security, static_cast<std::uint32_t>(securities_.size()));
  if (added) securities_.push_back(&at->first);
  return at->second;
}

Result<void> ItemStore::publish(const ItemState& item) {
  if (row_count_ >= kNone) return fail(ErrorCode::corrupt, "more items than fit");
  if (item.identity.record > kMostRecord) return fail(ErrorCode::corrupt, "an impossible MFT record number");
  const auto& path = item.base_path.text();
  const auto directory = item.base_path.is_root() ? kNone : find_by_base(item.base_path.parent().text());
  const auto& entry = item.entry;
  const auto& metadata = entry.metadata;
  std::uint8_t holds = 0;
  if (metadata.created_100ns != item.identity.created_100ns) holds |= kOwnCreated;
  if (!metadata.security.empty()) holds |= kSecurity;
  if (!entry.streams.empty()) holds |= kStreams;
  if (!entry.link_target.empty()) holds |= kLinkTarget;
  if (entry.link_group != 0) holds |= kLinkGroup;
  if (entry.reparse_tag != 0) holds |= kReparseTag;
  Note note(NoteKind::published);
  note.byte(holds);
  note.text(directory == kNone ? std::string_view(path) : item.base_path.name());
  note.identity(item.identity);
  note.byte(static_cast<std::uint8_t>(entry.kind));
  note.number(metadata.attributes);
  if ((holds & kOwnCreated) != 0) note.fixed(metadata.created_100ns);
  note.difference(metadata.written_100ns - metadata.created_100ns);
  note.number(entry.size_bytes);
  if ((holds & kSecurity) != 0) note.number(intern_security(metadata.security));
  if ((holds & kStreams) != 0) {
    note.number(entry.streams.size());
    for (const auto& stream : entry.streams) {
      note.text(stream.name);
      note.number(stream.size_bytes);
    }
  }
  if ((holds & kLinkTarget) != 0) note.text(entry.link_target);
  if ((holds & kLinkGroup) != 0) note.fixed(entry.link_group);
  if ((holds & kReparseTag) != 0) note.number(entry.reparse_tag);
  RS_TRY(const auto mark, add_note(note.view()));

  if (row_count_ % kRowsAtOnce == 0) rows_.emplace_back(kRowsAtOnce * sizeof(Item));
  const auto row = static_cast<Row>(row_count_++);
  auto& added = *std::construct_at(&at(row));
  added.id = item.id;
  added.file = packed(item.identity);
  added.published = added.last_note = mark;
  added.path_hash = hash(path);
  added.last_record_at = static_cast<std::uint32_t>(item.last_record_at);
  added.directory = directory;
  remember_record(row);
  const auto path_hash_of = [this](Row each) { return at(each).path_hash; };
  if (const auto old = row_at_path(path, added.path_hash); old != kNone)
    by_base_.replace(old, row, path_hash_of);
  else
    by_base_.insert(row, path_hash_of);
  return {};
}

void ItemStore::remember_record(Row row) {
  const auto record_hash_of = [this](Row each) { return hash(record(each)); };
  if (const auto old = find_by_record(record(row)); old != kNone)
    by_record_.replace(old, row, record_hash_of);
  else
    by_record_.insert(row, record_hash_of);
}

void ItemStore::forget_record(Row row) {
  if (find_by_record(record(row)) != row) return;
  by_record_.erase(row, [this](Row each) { return hash(record(each)); });
}

Result<void> ItemStore::populate(Row row) {
  if (at(row).populated) return {};
  RS_CHECK(add_note_to(row, Note(NoteKind::populated)));
  at(row).populated = 1;
  return {};
}

Result<void> ItemStore::withdraw(Row row) {
  RS_CHECK(add_note_to(row, Note(NoteKind::withdrawn)));
  at(row).withdrawn = 1;
  forget_record(row);
  const auto path = base_path(row);
  if (row_at_path(path.text(), at(row).path_hash) == row)
    by_base_.erase(row, [this](Row each) { return at(each).path_hash; });
  return {};
}

Result<void> ItemStore::load(Row row, std::string_view stream, std::uint64_t first_block,
                             const std::vector<BlockTag>& tags) {
  Note note(NoteKind::loaded);
  note.text(stream);
  note.number(first_block);
  note.number(tags.size());
  for (const auto tag : tags) note.fixed(tag);
  return add_note_to(row, note);
}

Result<void> ItemStore::limit(Row row, std::string_view stream, std::uint64_t limit_bytes) {
  Note note(NoteKind::limit);
  note.text(stream);
  note.number(limit_bytes);
  return add_note_to(row, note);
}

Result<void> ItemStore::dehydrate(Row row) { return add_note_to(row, Note(NoteKind::dehydrated)); }

Result<void> ItemStore::identify(Row row, const ItemIdentity& identity) {
  if (identity.record > kMostRecord) return fail(ErrorCode::corrupt, "an impossible MFT record number");
  Note note(NoteKind::identity);
  note.identity(identity);
  RS_CHECK(add_note_to(row, note));
  forget_record(row);
  at(row).file = packed(identity);
  remember_record(row);
  return {};
}

}  // namespace roamstead::extract
