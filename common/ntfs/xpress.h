// XPRESS Huffman, the compression of system files by the Windows overlay filter ([MS-XCA] 2.2).
#pragma once

#include "common/base/bytes.h"

namespace roamstead::ntfs {

// Decompresses one block (at most 64 KiB) to exactly out.size() bytes. ErrorCode::corrupt when the input is
// not that.
Result<void> decompress_xpress_huffman(ByteView in, MutableByteView out);

}  // namespace roamstead::ntfs
