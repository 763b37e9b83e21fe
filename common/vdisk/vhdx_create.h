// Makes new VHDX files.
#pragma once

#include "common/vdisk/vhdx_metadata.h"

namespace roamstead::vdisk::vhdx {

// Writes a new, empty VHDX under `path` (which must not exist) and flushes it; the name is not yet made
// durable. Returns its DataWriteGuid.
Result<Guid> create_file(os::FileSystem& files, const std::string& path, const Metadata& metadata);

// The metadata of a child of a disk with `parent`'s metadata, found at `relative_path` (with '/') under the
// id `linkage`.
Result<Metadata> child_metadata(const Metadata& parent, const Guid& linkage,
                                const std::string& relative_path);

// "../x/p.vhdx" as the format writes it: "..\x\p.vhdx", ".\p.vhdx".
Result<std::string> to_locator_path(const std::string& relative_path);

}  // namespace roamstead::vdisk::vhdx
