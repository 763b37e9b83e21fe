// Streams: a resident value or runs, put together from the extents of an attribute, and read.
#pragma once

#include "common/ntfs/boot_sector.h"
#include "common/ntfs/record.h"
#include "common/vdisk/block_device.h"

namespace roamstead::ntfs {

// The stream that starts with this attribute (lowest VCN 0). An attribute that goes on in other extents is
// complete only after append_extent with each of them, in order.
Result<StreamInfo> begin_stream(const AttributeView& attribute, const Geometry& geometry);
Result<void> append_extent(const AttributeView& attribute, const Geometry& geometry, StreamInfo& stream);
// The runs must reach as far as the size.
Result<void> check_complete(const StreamInfo& stream, const Geometry& geometry);

// Exactly out.size() bytes, all within the stream's size. Sparse parts and what is beyond valid_bytes are
// zero.
Result<void> read_stream(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                         std::uint64_t offset, MutableByteView out);
// The whole stream; ErrorCode::corrupt when it is longer than `limit_bytes`.
Result<Bytes> read_whole(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                         std::uint64_t limit_bytes);

}  // namespace roamstead::ntfs
