#include "common/ntfs/directory.h"

#include <fmt/format.h>

#include "common/base/text.h"
#include "common/ntfs/file_record.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kNameAt = 0x42;

}  // namespace

bool has_name(const AttributeView& attribute, std::string_view name) {
  if (attribute.name.size() != name.size() * 2) return false;
  for (std::size_t i = 0; i < name.size(); ++i)
    if (load_le<std::uint16_t>(attribute.name, i * 2) != static_cast<unsigned char>(name[i])) return false;
  return true;
}

Result<IndexAttributes> load_index(const AttributeWalker& walker, const Geometry& geometry,
                                   FileReference reference, const std::vector<AttributeView>& attributes,
                                   std::string_view name) {
  IndexAttributes index;
  bool found = false;
  const auto visit = [&](const AttributeView& attribute) -> Result<void> {
    if (!has_name(attribute, name)) return {};
    if (attribute.type == kIndexRoot) {
      if (!attribute.resident) return fail(ErrorCode::corrupt, "an index root that is not resident");
      index.root = to_bytes(attribute.value);
      found = true;
    } else if (attribute.type == kIndexAllocation) {
      if (index.allocation) return append_extent(attribute, geometry, *index.allocation);
      RS_TRY(index.allocation, begin_stream(attribute, geometry));
    }
    return {};
  };
  RS_CHECK(walker.walk(reference, attributes, kIndexRoot, visit));
  RS_CHECK(walker.walk(reference, attributes, kIndexAllocation, visit));
  if (!found) return fail(ErrorCode::not_found, fmt::format("no index {}", name));
  if (index.allocation) RS_CHECK(check_complete(*index.allocation, geometry));
  return index;
}

Result<std::vector<Volume::DirectoryEntry>> list_directory(const IndexTree& tree) {
  std::vector<Volume::DirectoryEntry> entries;
  RS_CHECK(tree.for_each([&](const IndexEntry& entry) -> Result<bool> {
    RS_TRY(auto name, parse_file_name(entry.key));
    const bool itself = name.name.size() == 1 && name.name.front() == '.';  // the root lists itself
    if (name.name_space != NameSpace::dos && !itself)
      entries.push_back({std::move(name.name), to_reference(entry.reference)});
    return true;
  }));
  return entries;
}

Result<std::optional<FileReference>> find_in_directory(const IndexTree& tree, const std::string& name,
                                                       const UpcaseTable* upcase) {
  const auto wanted = to_utf16(name);
  if (!wanted || wanted->empty() || wanted->size() > 255) return std::optional<FileReference>{};
  std::optional<FileReference> exact;
  std::optional<FileReference> similar;
  const auto visit = [&](const IndexEntry& entry) -> Result<bool> {
    RS_TRY(const auto found, parse_file_name(entry.key));
    if (found.name_space == NameSpace::dos) return true;
    if (found.name == name) {
      exact = to_reference(entry.reference);
      return false;
    }
    if (!similar && (upcase != nullptr || same_name(found.name, name)))
      similar = to_reference(entry.reference);
    return true;
  };
  if (upcase == nullptr) {
    RS_CHECK(tree.for_each(visit));
  } else {
    const auto compare = [&](const IndexEntry& entry) -> Result<int> {
      RS_CHECK(parse_file_name(entry.key));
      const std::size_t units = load_le<std::uint8_t>(entry.key, kNameAt - 2);
      return upcase->compare(*wanted, entry.key.subspan(kNameAt, units * 2));
    };
    RS_CHECK(tree.find(compare, visit));
  }
  return exact ? exact : similar;
}

}  // namespace roamstead::ntfs
