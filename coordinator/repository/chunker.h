// Content-defined chunking: FastCDC with normalised chunking (Xia et al., USENIX ATC 2016).
//
// A cut depends only on the bytes of its own chunk, so equal content gives equal chunks from the first common
// cut on, and whoever knows one cut can go on from there. The gear table and the masks are frozen: they are
// part of the format (docs/format-repository.md), not for correctness but because other cuts would find no
// old chunk again.
#pragma once

#include <cstddef>

#include "common/base/bytes.h"

namespace roamstead::repository {

inline constexpr std::size_t kMinChunkBytes = 16u << 10;
inline constexpr std::size_t kMeanChunkBytes = 64u << 10;
inline constexpr std::size_t kMaxChunkBytes = 256u << 10;

// Length of the first chunk of `data`. `data` must be all that is left of the stream, or at least
// kMaxChunkBytes of it. 0 only for empty data.
std::size_t first_chunk_bytes(ByteView data);

}  // namespace roamstead::repository
