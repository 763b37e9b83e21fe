#include "common/vdisk/vhdx_metadata.h"

#include <algorithm>
#include <bit>

#include "common/base/text.h"

namespace roamstead::vdisk::vhdx {
namespace {

constexpr std::string_view kSignature = "metadata";
constexpr std::size_t kTableBytes = 64 * 1024;
constexpr std::size_t kMaxItems = 2047;
constexpr std::uint32_t kMaxItemBytes = 1u << 20;
constexpr std::uint32_t kFlagVirtualDisk = 2;
constexpr std::uint32_t kFlagRequired = 4;

const Guid kFileParameters = Guid::parse("caa16737-fa36-4d43-b3b6-33f0aa44e76b").value();
const Guid kVirtualDiskSize = Guid::parse("2fa54224-cd1b-4876-b211-5dbed83bf4b8").value();
const Guid kVirtualDiskId = Guid::parse("beca12ab-b2e6-4523-93ef-c309e000c746").value();
const Guid kLogicalSectorSize = Guid::parse("8141bf1d-a96f-4709-ba47-f233a8faab5f").value();
const Guid kPhysicalSectorSize = Guid::parse("cda348c7-445d-4471-9cc9-e9885251c556").value();
const Guid kParentLocatorItem = Guid::parse("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").value();
const Guid kVhdxLocatorType = Guid::parse("b04aefb7-d19e-4a81-b789-25b8e9445913").value();

struct Item {
  Guid id;
  std::uint32_t offset = 0;  // within the region
  std::uint32_t length = 0;
  std::uint32_t flags = 0;
};

tl::unexpected<Error> corrupt(const os::File& file, std::uint64_t offset, const std::string& what) {
  return fail(ErrorCode::corrupt, file.path() + ": at offset " + std::to_string(offset) + ": " + what);
}

Result<std::vector<Item>> read_table(const os::File& file, ByteRange region) {
  if (region.length < kTableBytes)
    return corrupt(file, region.offset, "a metadata region of at least 64 KiB expected");
  Bytes table(kTableBytes);
  RS_CHECK(file.read_exactly(region.offset, table));
  if (as_text(ByteView(table).first(8)) != kSignature)
    return corrupt(file, region.offset, "the signature \"metadata\" expected");
  std::size_t count = load_le<std::uint16_t>(table, 10);
  if (count > kMaxItems)
    return corrupt(file, region.offset, std::to_string(count) + " items, at most 2047 expected");
  std::vector<Item> items;
  for (std::size_t i = 0; i < count; ++i) {
    auto entry = ByteView(table).subspan(32 + i * 32, 32);
    Item item{Guid::from(entry.first(16)), load_le<std::uint32_t>(entry, 16),
              load_le<std::uint32_t>(entry, 20), load_le<std::uint32_t>(entry, 24)};
    auto where = region.offset + 32 + i * 32;
    if (item.length > kMaxItemBytes || item.offset > region.length ||
        item.length > region.length - item.offset || (item.length != 0 && item.offset < kTableBytes))
      return corrupt(file, where,
                     "item " + item.id.to_string() + " with " + std::to_string(item.length) + " bytes at " +
                         std::to_string(item.offset) + ", outside the region's item space");
    for (const auto& other : items)
      if (other.id == item.id) return corrupt(file, where, "item " + item.id.to_string() + " twice");
    items.push_back(item);
  }
  return items;
}

const Item* find(const std::vector<Item>& items, const Guid& id) {
  auto found = std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.id == id; });
  return found == items.end() ? nullptr : &*found;
}

// The item's bytes; exactly `length` of them unless that is 0.
Result<Bytes> read_item(const os::File& file, ByteRange region, const std::vector<Item>& items,
                        const Guid& id, std::uint32_t length, const std::string& what) {
  const auto* item = find(items, id);
  if (item == nullptr) return corrupt(file, region.offset, "the item " + what + " is missing");
  if (length != 0 && item->length != length)
    return corrupt(
        file, region.offset + item->offset,
        what + " of " + std::to_string(item->length) + " bytes, " + std::to_string(length) + " expected");
  Bytes content(item->length);
  RS_CHECK(file.read_exactly(region.offset + item->offset, content));
  return content;
}

Result<void> check(const os::File& file, ByteRange region, const Metadata& metadata) {
  if (!std::has_single_bit(metadata.block_bytes) || metadata.block_bytes < kMiB ||
      metadata.block_bytes > 256 * kMiB)
    return corrupt(file, region.offset,
                   "block size " + std::to_string(metadata.block_bytes) +
                       ", a power of two from 1 MiB to 256 MiB expected");
  if (metadata.logical_sector_bytes != 512 && metadata.logical_sector_bytes != 4096)
    return corrupt(
        file, region.offset,
        "logical sector size " + std::to_string(metadata.logical_sector_bytes) + ", 512 or 4096 expected");
  if (metadata.physical_sector_bytes != 512 && metadata.physical_sector_bytes != 4096)
    return corrupt(
        file, region.offset,
        "physical sector size " + std::to_string(metadata.physical_sector_bytes) + ", 512 or 4096 expected");
  if (metadata.virtual_bytes == 0 || metadata.virtual_bytes % metadata.logical_sector_bytes != 0 ||
      metadata.virtual_bytes > kMaxVirtualBytes)
    return corrupt(
        file, region.offset,
        "virtual size " + std::to_string(metadata.virtual_bytes) + ", whole sectors up to 64 TiB expected");
  return {};
}

void append_utf16(Bytes& out, std::string_view text) {
  auto units = to_utf16(text).value_or(std::u16string());
  auto start = out.size();
  out.resize(start + units.size() * 2);
  if (!units.empty()) std::memcpy(out.data() + start, units.data(), units.size() * 2);
}

}  // namespace

std::optional<std::string> ParentLocator::get(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return value;
  return std::nullopt;
}

std::optional<Guid> ParentLocator::get_guid(std::string_view key) const {
  auto text = get(key);
  if (!text) return std::nullopt;
  auto guid = Guid::parse(*text);
  return guid ? std::optional<Guid>(*guid) : std::nullopt;
}

void ParentLocator::set(const std::string& key, const std::string& value) {
  for (auto& [name, old] : entries_)
    if (name == key) {
      old = value;
      return;
    }
  entries_.emplace_back(key, value);
}

void ParentLocator::set_guid(const std::string& key, const Guid& value) {
  set(key, "{" + value.to_string() + "}");
}

void ParentLocator::erase(std::string_view key) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
}

Result<ParentLocator> ParentLocator::parse(ByteView item) {
  ByteReader reader(item);
  RS_TRY(auto type, reader.take(16));
  if (Guid::from(type) != kVhdxLocatorType)
    return fail(ErrorCode::unsupported, "parent locator of unknown type " + Guid::from(type).to_string());
  RS_TRY(auto reserved, reader.le<std::uint16_t>());
  static_cast<void>(reserved);
  RS_TRY(auto count, reader.le<std::uint16_t>());
  ParentLocator locator;
  for (std::size_t i = 0; i < count; ++i) {
    RS_TRY(auto key_offset, reader.le<std::uint32_t>());
    RS_TRY(auto value_offset, reader.le<std::uint32_t>());
    RS_TRY(auto key_length, reader.le<std::uint16_t>());
    RS_TRY(auto value_length, reader.le<std::uint16_t>());
    if (key_offset > item.size() || key_length > item.size() - key_offset || value_offset > item.size() ||
        value_length > item.size() - value_offset)
      return fail(ErrorCode::corrupt, "parent locator entry " + std::to_string(i) +
                                          " reaches beyond the item's " + std::to_string(item.size()) +
                                          " bytes");
    auto key = utf16le_to_wtf8(item.subspan(key_offset, key_length));
    if (locator.get(key)) return fail(ErrorCode::corrupt, "parent locator key \"" + key + "\" twice");
    locator.entries_.emplace_back(key, utf16le_to_wtf8(item.subspan(value_offset, value_length)));
  }
  return locator;
}

Bytes ParentLocator::encode() const {
  Bytes item(20 + entries_.size() * 12);
  std::copy(kVhdxLocatorType.bytes.begin(), kVhdxLocatorType.bytes.end(), item.begin());
  store_le<std::uint16_t>(item, 18, static_cast<std::uint16_t>(entries_.size()));
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    auto key_at = item.size();
    append_utf16(item, entries_[i].first);
    auto value_at = item.size();
    append_utf16(item, entries_[i].second);
    auto entry = 20 + i * 12;
    store_le<std::uint32_t>(item, entry, static_cast<std::uint32_t>(key_at));
    store_le<std::uint32_t>(item, entry + 4, static_cast<std::uint32_t>(value_at));
    store_le<std::uint16_t>(item, entry + 8, static_cast<std::uint16_t>(value_at - key_at));
    store_le<std::uint16_t>(item, entry + 10, static_cast<std::uint16_t>(item.size() - value_at));
  }
  return item;
}

Result<Metadata> read_metadata(const os::File& file, ByteRange region) {
  RS_TRY(auto items, read_table(file, region));
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& item = items[i];
    bool known = item.id == kFileParameters || item.id == kVirtualDiskSize || item.id == kVirtualDiskId ||
                 item.id == kLogicalSectorSize || item.id == kPhysicalSectorSize ||
                 item.id == kParentLocatorItem;
    if (!known && (item.flags & kFlagRequired) != 0)
      return fail(ErrorCode::unsupported, file.path() + ": at offset " +
                                              std::to_string(region.offset + 32 + i * 32) +
                                              ": needs the unknown metadata item " + item.id.to_string());
  }
  Metadata metadata;
  RS_TRY(auto parameters, read_item(file, region, items, kFileParameters, 8, "file parameters"));
  metadata.block_bytes = load_le<std::uint32_t>(parameters, 0);
  metadata.leave_allocated = (load_le<std::uint32_t>(parameters, 4) & 1) != 0;
  metadata.has_parent = (load_le<std::uint32_t>(parameters, 4) & 2) != 0;
  RS_TRY(auto size, read_item(file, region, items, kVirtualDiskSize, 8, "virtual disk size"));
  metadata.virtual_bytes = load_le<std::uint64_t>(size);
  RS_TRY(auto disk_id, read_item(file, region, items, kVirtualDiskId, 16, "virtual disk id"));
  metadata.disk_id = Guid::from(disk_id);
  RS_TRY(auto logical, read_item(file, region, items, kLogicalSectorSize, 4, "logical sector size"));
  metadata.logical_sector_bytes = load_le<std::uint32_t>(logical);
  RS_TRY(auto physical, read_item(file, region, items, kPhysicalSectorSize, 4, "physical sector size"));
  metadata.physical_sector_bytes = load_le<std::uint32_t>(physical);
  RS_CHECK(check(file, region, metadata));
  if (metadata.has_parent) {
    RS_TRY(auto content, read_item(file, region, items, kParentLocatorItem, 0, "parent locator"));
    metadata.locator_at = region.offset + find(items, kParentLocatorItem)->offset;
    RS_TRY_CTX(metadata.locator, file.path() + ": at offset " + std::to_string(metadata.locator_at),
               ParentLocator::parse(content));
  }
  return metadata;
}

Bytes encode_metadata(const Metadata& metadata) {
  Bytes region(kTableBytes);
  std::memcpy(region.data(), kSignature.data(), kSignature.size());
  std::uint16_t count = 0;
  auto add = [&](const Guid& id, std::uint32_t flags, const Bytes& content) {
    auto entry = 32 + std::size_t{count} * 32;
    std::copy(id.bytes.begin(), id.bytes.end(), region.begin() + static_cast<std::ptrdiff_t>(entry));
    store_le<std::uint32_t>(region, entry + 16, static_cast<std::uint32_t>(region.size()));
    store_le<std::uint32_t>(region, entry + 20, static_cast<std::uint32_t>(content.size()));
    store_le<std::uint32_t>(region, entry + 24, flags);
    region.insert(region.end(), content.begin(), content.end());
    region.resize((region.size() + 7) / 8 * 8);
    store_le<std::uint16_t>(region, 10, ++count);
  };
  ByteWriter parameters;
  parameters.le<std::uint32_t>(metadata.block_bytes);
  parameters.le<std::uint32_t>((metadata.leave_allocated ? 1u : 0u) | (metadata.has_parent ? 2u : 0u));
  add(kFileParameters, kFlagRequired, parameters.take());
  ByteWriter size;
  size.le<std::uint64_t>(metadata.virtual_bytes);
  add(kVirtualDiskSize, kFlagRequired | kFlagVirtualDisk, size.take());
  add(kVirtualDiskId, kFlagRequired | kFlagVirtualDisk, to_bytes(ByteView(metadata.disk_id.bytes)));
  ByteWriter logical;
  logical.le<std::uint32_t>(metadata.logical_sector_bytes);
  add(kLogicalSectorSize, kFlagRequired | kFlagVirtualDisk, logical.take());
  ByteWriter physical;
  physical.le<std::uint32_t>(metadata.physical_sector_bytes);
  add(kPhysicalSectorSize, kFlagRequired | kFlagVirtualDisk, physical.take());
  if (metadata.has_parent) add(kParentLocatorItem, kFlagRequired, metadata.locator.encode());
  return region;
}

Result<std::vector<MetadataChange>> change_locator(const os::File& file, ByteRange region,
                                                   const ParentLocator& locator) {
  RS_TRY(auto items, read_table(file, region));
  auto content = locator.encode();
  RangeSet used;
  used.add({0, kTableBytes});
  std::size_t index = items.size();
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].length != 0) used.add({items[i].offset, items[i].length});
    if (items[i].id == kParentLocatorItem) index = i;
  }
  if (index == items.size()) return corrupt(file, region.offset, "the item parent locator is missing");
  for (auto gap : used.missing({0, region.length})) {
    auto start = (gap.offset + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    if (start >= gap.end() || gap.end() - start < content.size()) continue;
    Bytes entry(32);
    std::copy(kParentLocatorItem.bytes.begin(), kParentLocatorItem.bytes.end(), entry.begin());
    store_le<std::uint32_t>(entry, 16, static_cast<std::uint32_t>(start));
    store_le<std::uint32_t>(entry, 20, static_cast<std::uint32_t>(content.size()));
    store_le<std::uint32_t>(entry, 24, items[index].flags);
    std::vector<MetadataChange> changes;
    changes.push_back({region.offset + start, std::move(content)});
    changes.push_back({region.offset + 32 + index * 32, std::move(entry)});
    return changes;
  }
  return fail(ErrorCode::unsupported,
              file.path() + ": no room in the metadata region for another parent locator");
}

}  // namespace roamstead::vdisk::vhdx
