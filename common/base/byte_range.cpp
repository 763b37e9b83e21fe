#include "common/base/byte_range.h"

#include <algorithm>
#include <iterator>

namespace roamstead {

ByteRange intersect(ByteRange a, ByteRange b) {
  auto begin = std::max(a.offset, b.offset);
  auto end = std::min(a.end(), b.end());
  return end > begin ? ByteRange{begin, end - begin} : ByteRange{begin, 0};
}

void RangeSet::add(ByteRange range) {
  if (range.empty()) return;
  auto begin = range.offset;
  auto end = range.end();
  auto it = ranges_.upper_bound(begin);
  if (it != ranges_.begin() && std::prev(it)->second >= begin) {
    --it;
    begin = it->first;
  }
  while (it != ranges_.end() && it->first <= end) {
    end = std::max(end, it->second);
    it = ranges_.erase(it);
  }
  ranges_.emplace_hint(it, begin, end);
}

void RangeSet::subtract(ByteRange range) {
  if (range.empty()) return;
  auto it = ranges_.upper_bound(range.offset);
  if (it != ranges_.begin() && std::prev(it)->second > range.offset) --it;
  while (it != ranges_.end() && it->first < range.end()) {
    auto [begin, end] = *it;
    it = ranges_.erase(it);
    if (begin < range.offset) ranges_.emplace(begin, range.offset);
    if (end > range.end()) ranges_.emplace(range.end(), end);
  }
}

void RangeSet::add(const RangeSet& other) {
  for (auto [begin, end] : other.ranges_) add({begin, end - begin});
}

void RangeSet::subtract(const RangeSet& other) {
  for (auto [begin, end] : other.ranges_) subtract({begin, end - begin});
}

std::uint64_t RangeSet::total_bytes() const {
  std::uint64_t total = 0;
  for (auto [begin, end] : ranges_) total += end - begin;
  return total;
}

bool RangeSet::contains(ByteRange range) const {
  if (range.empty()) return true;
  auto it = ranges_.upper_bound(range.offset);
  return it != ranges_.begin() && std::prev(it)->second >= range.end();
}

bool RangeSet::overlaps(ByteRange range) const { return !covered(range).empty(); }

std::vector<ByteRange> RangeSet::covered(ByteRange range) const {
  std::vector<ByteRange> out;
  if (range.empty()) return out;
  auto it = ranges_.upper_bound(range.offset);
  if (it != ranges_.begin()) --it;
  for (; it != ranges_.end() && it->first < range.end(); ++it) {
    auto part = intersect(range, {it->first, it->second - it->first});
    if (!part.empty()) out.push_back(part);
  }
  return out;
}

std::vector<ByteRange> RangeSet::missing(ByteRange range) const {
  std::vector<ByteRange> out;
  auto at = range.offset;
  for (auto part : covered(range)) {
    if (part.offset > at) out.push_back({at, part.offset - at});
    at = part.end();
  }
  if (at < range.end()) out.push_back({at, range.end() - at});
  return out;
}

std::vector<ByteRange> RangeSet::ranges() const {
  std::vector<ByteRange> out;
  out.reserve(ranges_.size());
  for (auto [begin, end] : ranges_) out.push_back({begin, end - begin});
  return out;
}

}  // namespace roamstead
