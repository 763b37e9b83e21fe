// A batch as a run of bytes: the encoded batch, then the content of all its writes, in the order of records,
// of their streams, and of the writes. Neither side holds the content in memory.
#pragma once

#include <vector>

#include "common/profile/batch.h"

namespace roamstead::wire {

inline constexpr std::uint64_t kMaxEncodedBatchBytes = 256u << 20;

// ErrorCode::full when it exceeds kMaxEncodedBatchBytes: to be cut into several batches.
Result<Bytes> encode_batch(const profile::Batch& batch);
// Decodes and checks (check_batch): what a hostile peer's bytes become, or an error. Memory stays within a
// small multiple of the input.
Result<profile::Batch> decode_batch(ByteView encoded);

// Where the bytes of each write lie in the run of all content.
class ContentLayout {
 public:
  // Of a checked batch; ErrorCode::invalid_argument when the sum overflows.
  static Result<ContentLayout> of(const profile::Batch& batch);

  struct Piece {
    std::size_t record = 0;
    std::size_t stream = 0;
    ByteRange range;             // within the stream
    std::uint64_t position = 0;  // within the run
  };
  std::uint64_t total_bytes() const { return total_bytes_; }
  // The pieces in the run's order.
  const std::vector<Piece>& pieces() const { return pieces_; }
  // Position of a range that lies within one write of the batch; ErrorCode::invalid_argument otherwise.
  Result<std::uint64_t> locate(std::size_t record, std::size_t stream, ByteRange range) const;

 private:
  std::vector<Piece> pieces_;  // also sorted by (record, stream, offset)
  std::uint64_t total_bytes_ = 0;
};

}  // namespace roamstead::wire
