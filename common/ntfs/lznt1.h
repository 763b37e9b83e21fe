// LZNT1, the compression of NTFS's compressed streams ([MS-XCA] 2.5): chunks of up to 4 KiB, each of its own.
#pragma once

#include "common/base/bytes.h"

namespace roamstead::ntfs {

// Decompresses chunks until `in` ends, a chunk's header is 0, or `out` is full; what is left of `out` is
// zero, and so is what a chunk leaves of its 4 KiB. ErrorCode::corrupt names the byte of `in` where a chunk
// leaves it, refers to what is before the chunk, or gives more than 4 KiB.
Result<void> decompress_lznt1(ByteView in, MutableByteView out);

}  // namespace roamstead::ntfs
