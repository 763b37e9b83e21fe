// Directory indexes against the names in the MFT: for each name of a file there must be one entry in its
// parent's index, and the other way round. First by sums over both sides, then, where they differ, one by
// one.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "common/base/text.h"
#include "common/ntfs/check_parts.h"
#include "common/ntfs/directory.h"
#include "common/ntfs/file_record.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kNameFieldsBytes = 0x42;
constexpr std::size_t kMaxDirectories = 1000;  // looked at one by one in a window
constexpr std::size_t kMaxEntries = 4u << 20;  // remembered of them, 8 bytes each
constexpr std::uint64_t kUpcaseRecord = 10;

bool has_whole_name(ByteView value) {
  return value.size() >= kNameFieldsBytes &&
         kNameFieldsBytes + load_le<std::uint8_t>(value, 0x40) * std::size_t{2} <= value.size();
}
ByteView units_of(ByteView value) {
  return value.subspan(kNameFieldsBytes, load_le<std::uint8_t>(value, 0x40) * std::size_t{2});
}

std::uint64_t scramble(std::uint64_t value) {  // splitmix64's finaliser
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

// Of a link: which file, in which directory, by which name and name space. `value` is a $FILE_NAME with a
// whole name.
std::uint64_t link_hash(std::uint64_t file, ByteView value) {
  auto hash = scramble(file + 1) ^ scramble(load_le<std::uint64_t>(value) + 2);
  hash = scramble(hash + load_le<std::uint8_t>(value, 0x41));
  const auto units = units_of(value);
  for (std::size_t i = 0; i < units.size(); i += 2)
    hash = hash * 0x100000001b3 + load_le<std::uint16_t>(units, i);
  return scramble(hash);
}

std::uint64_t raw_reference(std::uint64_t number, std::uint16_t sequence) {
  return number | std::uint64_t{sequence} << 48;
}

struct Links {
  std::uint64_t sum = 0;
  std::uint32_t count = 0;
  std::uint16_t sequence = 0;
  bool directory = false;
};

class IndexCheck {
 public:
  explicit IndexCheck(Check& check) : check_(check) { load_upcase(); }

  Result<void> run() {
    const auto records = check_.mft().record_count();
    const auto step = std::max<std::uint64_t>(check_.options().window_records, 1);
    for (first_ = 0; first_ < records; first_ += step) {
      links_.assign(static_cast<std::size_t>(std::min(step, records - first_)), {});
      RS_CHECK(sum_names());
      suspects_.clear();
      remembered_ = 0;
      for (std::size_t i = 0; i < links_.size(); ++i) {
        if (links_[i].directory)
          compare(first_ + i, links_[i]);
        else if (links_[i].count != 0)
          suspect(first_ + i);
      }
      if (!suspects_.empty()) RS_CHECK(find_missing());
    }
    check_views();
    return {};
  }

 private:
  void bad(std::uint64_t number, std::string text) {
    check_.add_at_record(Check::Severity::error, number, std::move(text));
  }
  void load_upcase() {
    const auto file = check_.volume().record(kUpcaseRecord);
    if (!file || file->streams.empty()) return bad(kUpcaseRecord, "$UpCase cannot be read");
    auto bytes =
        read_whole(check_.device(), check_.geometry(), file->streams.front(), UpcaseTable::kUnits * 2);
    auto table = bytes ? UpcaseTable::parse(*bytes) : Result<UpcaseTable>(fail(bytes.error()));
    if (!table) return bad(kUpcaseRecord, table.error().to_string());
    upcase_ = std::move(*table);
  }

  Result<void> sum_names() {
    return check_.for_each_record([&](std::uint64_t number, const LoadedRecord& record) {
      if (record.header.base) return;
      if (number - first_ < links_.size()) {
        auto& own = links_[static_cast<std::size_t>(number - first_)];
        own.directory = record.header.directory;
        own.sequence = record.header.sequence;
      }
      check_.for_each_name(number, record, [&](ByteView value) {
        if (!has_whole_name(value)) return;
        const auto parent = to_reference(load_le<std::uint64_t>(value)).record;
        if (parent >= check_.mft().record_count() && first_ == 0)
          bad(number, fmt::format("its parent, record {}, is beyond the end of the MFT", parent));
        if (parent - first_ >= links_.size()) return;
        auto& links = links_[static_cast<std::size_t>(parent - first_)];
        links.sum += link_hash(raw_reference(number, record.header.sequence), value);
        ++links.count;
      });
    });
  }

  std::vector<std::uint64_t>* suspect(std::uint64_t number) {
    if (suspects_.size() >= kMaxDirectories) return nullptr;
    return &suspects_[number];
  }

  struct Directory {
    IndexAttributes index;
    LoadedRecord record;
  };
  Result<Directory> open(std::uint64_t number, std::string_view name) const {
    Directory directory;
    RS_TRY(directory.record, check_.mft().load(number));
    RS_TRY(directory.index,
           load_index(check_.mft().walker(), check_.geometry(), {number, directory.record.header.sequence},
                      directory.record.attributes, name));
    return directory;
  }
  Result<IndexTree> tree_of(const IndexAttributes& index) const {
    return IndexTree::open(check_.device(), check_.geometry(), index.root,
                           index.allocation ? &*index.allocation : nullptr);
  }

  void compare(std::uint64_t number, const Links& expected) {
    const auto directory = open(number, "$I30");
    if (!directory) return bad(number, "directory: " + directory.error().to_string());
    const auto tree = tree_of(directory->index);
    if (!tree) return bad(number, "directory: " + tree.error().to_string());
    Links found;
    Bytes previous;
    bool ordered = true;
    std::vector<std::uint64_t> blocks;
    const auto walked = tree->for_each(
        [&](const IndexEntry& entry) -> Result<bool> {
          if (!has_whole_name(entry.key)) return fail(ErrorCode::corrupt, "an entry without a whole name");
          found.sum += link_hash(entry.reference, entry.key);
          ++found.count;
          if (upcase_ && !previous.empty()) ordered = ordered && in_order(previous, entry.key);
          previous.assign(entry.key.begin(), entry.key.end());
          return true;
        },
        &blocks);
    if (!walked) return bad(number, "directory: " + walked.error().to_string());
    if (!ordered) bad(number, "directory: its index is not in order, names in it may not be found");
    compare_blocks(number, *directory, blocks);
    if (found.sum != expected.sum || found.count != expected.count) look_at_entries(number, *tree);
  }

  bool in_order(ByteView before, ByteView after) const {
    const auto units = units_of(before);
    std::u16string name(units.size() / 2, u'\0');
    for (std::size_t i = 0; i < name.size(); ++i) name[i] = load_le<std::uint16_t>(units, i * 2);
    return upcase_->compare(name, units_of(after)) <= 0;
  }

  // The index's own bitmap of its blocks.
  void compare_blocks(std::uint64_t number, const Directory& directory, std::vector<std::uint64_t> blocks) {
    if (!directory.index.allocation) return;
    auto stream = check_.stream_of(number, directory.record, kBitmap, "$I30");
    if (!stream || !*stream) return bad(number, "directory: the bitmap of its index cannot be read");
    BitStream bits(check_.device(), check_.geometry(), std::move(**stream));
    std::sort(blocks.begin(), blocks.end());
    const auto block_bytes = load_le<std::uint32_t>(directory.index.root, 8);
    const auto count = std::min(bits.bits(), directory.index.allocation->size_bytes / block_bytes);
    std::size_t unreached = 0;
    auto next = blocks.begin();
    for (std::uint64_t block = 0; block < count; ++block) {
      const bool reached = next != blocks.end() && *next == block;
      if (reached) ++next;
      const auto marked = bits.at(block);
      if (!marked) return bad(number, "directory: " + marked.error().to_string());
      if (reached && !*marked)
        bad(number, fmt::format("directory: index block {} is in use, but free in its bitmap", block));
      unreached += *marked && !reached;
    }
    for (; next != blocks.end(); ++next)
      bad(number, fmt::format("directory: index block {} is beyond its bitmap", *next));
    if (unreached != 0)
      check_.add_at_record(
          Check::Severity::warning, number,
          fmt::format("directory: {} index blocks are marked as used, but hold nothing", unreached));
  }

  // Stale entries are told now, missing ones by one more pass over the MFT.
  void look_at_entries(std::uint64_t number, const IndexTree& tree) {
    auto* hashes = suspect(number);
    if (hashes == nullptr)
      return bad(number, "directory: its index and the MFT differ (not looked at closer)");
    (void)tree.for_each([&](const IndexEntry& entry) -> Result<bool> {
      const auto hash = link_hash(entry.reference, entry.key);
      if (remembered_ < kMaxEntries) {
        hashes->push_back(hash);
        ++remembered_;
      }
      if (const auto why = stale(entry, hash); !why.empty())
        bad(number, fmt::format("directory: entry \"{}\" {}", utf16le_to_wtf8(units_of(entry.key)), why));
      return true;
    });
    std::sort(hashes->begin(), hashes->end());
    const auto twice = std::adjacent_find(hashes->begin(), hashes->end());
    if (twice != hashes->end()) bad(number, "directory: an entry is there twice");
  }

  // Why the entry is not true; "" when it is.
  std::string stale(const IndexEntry& entry, std::uint64_t hash) const {
    const auto reference = to_reference(entry.reference);
    const auto record = check_.mft().load(reference.record);
    if (!record) return fmt::format("names record {}: {}", reference.record, record.error().to_string());
    if (!record->header.in_use) return fmt::format("names record {}, which is free", reference.record);
    if (record->header.base) return fmt::format("names record {}, an extension", reference.record);
    if (record->header.sequence != reference.sequence)
      return fmt::format("names record {} of sequence {}, which has {}", reference.record, reference.sequence,
                         record->header.sequence);
    bool found = false;
    check_.for_each_name(reference.record, *record, [&](ByteView value) {
      found = found || (has_whole_name(value) && link_hash(entry.reference, value) == hash);
    });
    return found ? ""
                 : fmt::format("names record {}, which does not have this name in this directory",
                               reference.record);
  }

  Result<void> find_missing() {
    return check_.for_each_record([&](std::uint64_t number, const LoadedRecord& record) {
      if (record.header.base) return;
      check_.for_each_name(number, record, [&](ByteView value) {
        if (!has_whole_name(value)) return;
        const auto parent = to_reference(load_le<std::uint64_t>(value));
        const auto found = suspects_.find(parent.record);
        if (found == suspects_.end() || parent.record - first_ >= links_.size()) return;
        const auto& links = links_[static_cast<std::size_t>(parent.record - first_)];
        const auto name = utf16le_to_wtf8(units_of(value));
        if (!links.directory)
          return bad(number, fmt::format("\"{}\": its parent, record {}, is no directory in use", name,
                                         parent.record));
        if (links.sequence != parent.sequence)
          return bad(number, fmt::format("\"{}\": its parent, record {}, has sequence {}, not {}", name,
                                         parent.record, links.sequence, parent.sequence));
        const auto hash = link_hash(raw_reference(number, record.header.sequence), value);
        if (remembered_ < kMaxEntries &&
            !std::binary_search(found->second.begin(), found->second.end(), hash))
          bad(number,
              fmt::format("\"{}\" is missing from the index of its parent, record {}", name, parent.record));
      });
    });
  }

  // The indexes of $Secure, $ObjId, $Quota and $Reparse: their structure.
  void check_views() {
    const std::pair<const char*, const char*> views[] = {
        {"$Secure", "$SII"},      {"$Secure", "$SDH"},      {"$Extend/$ObjId", "$O"},
        {"$Extend/$Quota", "$O"}, {"$Extend/$Quota", "$Q"}, {"$Extend/$Reparse", "$R"}};
    for (const auto& [path, name] : views) {
      const auto reference = check_.volume().lookup(path);
      if (!reference) continue;
      const auto index = open(reference->record, name);
      if (!index) {
        if (index.error().code != ErrorCode::not_found) bad(reference->record, index.error().to_string());
        continue;
      }
      const auto tree = tree_of(index->index);
      const auto walked = tree ? tree->for_each([](const IndexEntry&) -> Result<bool> { return true; })
                               : Result<void>(fail(tree.error()));
      if (!walked) bad(reference->record, fmt::format("{}:{}: {}", path, name, walked.error().to_string()));
    }
  }

  Check& check_;
  std::optional<UpcaseTable> upcase_;
  std::uint64_t first_ = 0;
  std::vector<Links> links_;                                                // of the records from first_ on
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> suspects_;  // sorted hashes of their entries
  std::size_t remembered_ = 0;
};

}  // namespace

Result<void> check_indexes(Check& check) { return IndexCheck(check).run(); }

}  // namespace roamstead::ntfs
