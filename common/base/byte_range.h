// Half-open ranges of bytes and sets of them.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace roamstead {

// [offset, offset + length). Makers guarantee that the end does not overflow 64 bits.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  std::uint64_t end() const { return offset + length; }
  bool empty() const { return length == 0; }
  bool operator==(const ByteRange&) const = default;
};

ByteRange intersect(ByteRange a, ByteRange b);

// Disjoint, non-adjacent, ascending ranges. Not thread-safe.
class RangeSet {
 public:
  void add(ByteRange range);
  void subtract(ByteRange range);
  void add(const RangeSet& other);
  void subtract(const RangeSet& other);

  bool empty() const { return ranges_.empty(); }
  std::uint64_t total_bytes() const;
  bool contains(ByteRange range) const;  // wholly; an empty range is contained
  bool overlaps(ByteRange range) const;
  // The parts of `range` that are in the set, or that are not.
  std::vector<ByteRange> covered(ByteRange range) const;
  std::vector<ByteRange> missing(ByteRange range) const;
  std::vector<ByteRange> ranges() const;
  std::size_t count() const { return ranges_.size(); }
  bool operator==(const RangeSet&) const = default;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // offset -> end
};

}  // namespace roamstead
