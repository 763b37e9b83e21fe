// LZX as the Windows overlay filter and WIM files use it ([MS-PATCH], "LZX data compression format"): a
// window of 32 KiB, each block of up to 32 KiB compressed on its own, calls of x86 code always translated.
#pragma once

#include "common/base/bytes.h"

namespace roamstead::ntfs {

// Decompresses one chunk to exactly out.size() (at most 32 KiB) bytes. ErrorCode::corrupt when the input is
// not that.
Result<void> decompress_lzx(ByteView in, MutableByteView out);

}  // namespace roamstead::ntfs
