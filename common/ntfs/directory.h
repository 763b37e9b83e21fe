// A directory's index $I30.
#pragma once

#include "common/ntfs/attribute_list.h"
#include "common/ntfs/index.h"
#include "common/ntfs/upcase.h"

namespace roamstead::ntfs {

// An index of a file by name: root value and allocation, owned.
struct IndexAttributes {
  Bytes root;
  std::optional<StreamInfo> allocation;
};
// Is the attribute called `name` (ASCII)?
bool has_name(const AttributeView& attribute, std::string_view name);
// The index called `name` (ASCII); not_found when the file has no such index.
Result<IndexAttributes> load_index(const AttributeWalker& walker, const Geometry& geometry,
                                   FileReference reference, const std::vector<AttributeView>& attributes,
                                   std::string_view name);

// Entries without pure DOS names.
Result<std::vector<Volume::DirectoryEntry>> list_directory(const IndexTree& tree);
// The entry with exactly this name, else one that equals it without regard to case, else none. By the tree's
// order when there is the volume's table, by a look at every entry and the repository's table otherwise.
Result<std::optional<FileReference>> find_in_directory(const IndexTree& tree, const std::string& name,
                                                       const UpcaseTable* upcase);

}  // namespace roamstead::ntfs
