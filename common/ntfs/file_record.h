// A FileRecord put together from a file's attributes.
#pragma once

#include "common/ntfs/attribute_list.h"

namespace roamstead::ntfs {

// `record` is a base record in use, its fixups applied. Reads extension records where there is an attribute
// list.
Result<FileRecord> assemble_file(const vdisk::BlockDevice& device, const Geometry& geometry,
                                 const AttributeWalker& walker, std::uint64_t number,
                                 const RecordHeader& header, const std::vector<AttributeView>& attributes);

// A $FILE_NAME value, in an attribute or in a directory's index.
Result<NameInfo> parse_file_name(ByteView value);

}  // namespace roamstead::ntfs
