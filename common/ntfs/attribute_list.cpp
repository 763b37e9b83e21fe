#include "common/ntfs/attribute_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kMaxListBytes = 256u << 10;  // what NTFS allows
constexpr std::size_t kEntryBytes = 26;

const AttributeView* find_attribute(const std::vector<AttributeView>& attributes, std::uint32_t type,
                                    std::uint16_t id, ByteView name) {
  for (const auto& attribute : attributes)
    if (attribute.type == type && attribute.id == id &&
        std::equal(attribute.name.begin(), attribute.name.end(), name.begin(), name.end()))
      return &attribute;
  return nullptr;
}

}  // namespace

Result<std::vector<AttributeWalker::Entry>> AttributeWalker::parse_list(ByteView list) {
  std::vector<Entry> entries;
  for (std::size_t at = 0; at < list.size();) {
    const auto left = list.size() - at;
    const std::size_t length = left < kEntryBytes ? 0 : load_le<std::uint16_t>(list, at + 4);
    if (length < kEntryBytes || length > left)
      return fail(ErrorCode::corrupt,
                  fmt::format("attribute list: entry of {} bytes at {} of {}", length, at, list.size()));
    Entry entry;
    entry.type = load_le<std::uint32_t>(list, at);
    const std::size_t name_bytes = load_le<std::uint8_t>(list, at + 6) * std::size_t{2};
    const std::size_t name_at = load_le<std::uint8_t>(list, at + 7);
    if (name_bytes != 0 && (name_at > length || name_bytes > length - name_at))
      return fail(ErrorCode::corrupt,
                  fmt::format("attribute list: the name of the entry at {} leaves it", at));
    if (name_bytes != 0) entry.name = list.subspan(at + name_at, name_bytes);
    entry.lowest_vcn = load_le<std::uint64_t>(list, at + 8);
    entry.holder = to_reference(load_le<std::uint64_t>(list, at + 16));
    entry.id = load_le<std::uint16_t>(list, at + 24);
    entries.push_back(entry);
    at += length;
  }
  // Extents in order of their VCNs: the list of a fragmented $MFT can be followed only in that order.
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.lowest_vcn < b.lowest_vcn; });
  return entries;
}

Result<Bytes> AttributeWalker::read_list(const AttributeView& list) const {
  if (list.resident) return to_bytes(list.value);
  RS_TRY(auto stream, begin_stream(list, geometry_));
  RS_CHECK(check_complete(stream, geometry_));
  RS_TRY_CTX(auto bytes, "attribute list", read_whole(device_, geometry_, stream, kMaxListBytes));
  return bytes;
}

Result<LoadedRecord> AttributeWalker::load_extension(FileReference base, FileReference extension) const {
  RS_TRY(auto record, load_(extension.record));
  if (!record.header.in_use || record.header.base != base || record.header.sequence != extension.sequence)
    return fail(ErrorCode::corrupt,
                fmt::format("attribute list: record {} (sequence {}) is not an extension of this one",
                            extension.record, extension.sequence));
  return record;
}

Result<void> AttributeWalker::walk(FileReference reference, const std::vector<AttributeView>& base,
                                   std::uint32_t only,
                                   const std::function<Result<void>(const AttributeView&)>& visit,
                                   std::vector<std::uint64_t>* extension_records) const {
  const auto list = std::find_if(base.begin(), base.end(), [](const AttributeView& attribute) {
    return attribute.type == kAttributeList;
  });
  if (list == base.end()) {
    for (const auto& attribute : base)
      if (only == 0 || attribute.type == only) RS_CHECK(visit(attribute));
    return {};
  }
  RS_TRY(const auto list_bytes, read_list(*list));
  RS_TRY(const auto entries, parse_list(list_bytes));
  std::map<std::uint64_t, LoadedRecord> extensions;
  std::set<const AttributeView*> seen;
  for (const auto& entry : entries) {
    if (entry.type == kAttributeList || (only != 0 && entry.type != only)) continue;
    const auto* attributes = &base;
    if (entry.holder.record != reference.record) {
      auto found = extensions.find(entry.holder.record);
      if (found == extensions.end()) {
        RS_TRY(auto record, load_extension(reference, entry.holder));
        found = extensions.emplace(entry.holder.record, std::move(record)).first;
        if (extension_records != nullptr) extension_records->push_back(entry.holder.record);
      }
      attributes = &found->second.attributes;
    }
    const auto* attribute = find_attribute(*attributes, entry.type, entry.id, entry.name);
    if (attribute == nullptr || !seen.insert(attribute).second)
      return fail(ErrorCode::corrupt,
                  fmt::format("attribute list: attribute 0x{:x} (id {}) is {} in record {}", entry.type,
                              entry.id, attribute == nullptr ? "not" : "twice", entry.holder.record));
    RS_CHECK(visit(*attribute));
  }
  return {};
}

}  // namespace roamstead::ntfs
