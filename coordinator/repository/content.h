// The bytes of a stream, and their change: re-chunked around what was written, all other chunks reused.
#pragma once

#include <functional>

#include "common/base/byte_range.h"
#include "coordinator/repository/objects.h"

namespace roamstead::repository {

// Exactly out.size() bytes at `offset`; the range must lie within `size_bytes`.
Result<void> read_content(ProfileObjects& objects, const Content& content, std::uint64_t size_bytes,
                          std::uint64_t offset, MutableByteView out);

// Every piece of the stream in order, with its offset. Inline content has none. Stops when `visit` returns
// false.
Result<void> visit_pieces(ProfileObjects& objects, const Content& content, std::uint64_t first_offset,
                          const std::function<Result<bool>(std::uint64_t offset, const Piece&)>& visit);

struct ContentChange {
  const Content* base = nullptr;  // null: nothing, all zero
  std::uint64_t base_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::vector<ByteRange> writes;  // ascending, disjoint, within the size
  // Fills `out` from within one of the writes.
  std::function<Result<void>(std::uint64_t offset, MutableByteView out)> read_written;
};
// The changed stream. Reads the base only in chunks that the change touches and until the cuts fall into step
// again.
Result<Content> change_content(ProfileObjects& objects, const ContentChange& change);

}  // namespace roamstead::repository
