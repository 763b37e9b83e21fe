#include "common/extract/cluster_map.h"

#include <algorithm>

namespace roamstead::extract {
namespace {
constexpr std::uint64_t kFirstOrdinaryRecord = 24;
}

Result<ClusterMap> ClusterMap::build(const ntfs::Volume& volume) {
  ClusterMap map;
  const std::uint64_t cluster_bytes = volume.info().cluster_bytes;
  const auto clusters = volume.info().volume_bytes / cluster_bytes;
  RS_CHECK(volume.scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    if (!file || number < kFirstOrdinaryRecord) return true;
    for (const auto& stream : file->streams)
      for (const auto& run : stream.runs)
        if (!run.sparse && run.lcn < clusters && run.clusters <= clusters - run.lcn)
          map.pieces_.push_back({run.lcn * cluster_bytes, run.clusters * cluster_bytes, number});
    return true;
  }));
  std::sort(map.pieces_.begin(), map.pieces_.end(),
            [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
  std::uint64_t furthest = 0, furthest_record = 0;
  map.furthest_.reserve(map.pieces_.size());
  for (const auto& piece : map.pieces_) {
    if (piece.offset < furthest) map.doubly_owned_.insert({piece.record, furthest_record});
    if (piece.offset + piece.length > furthest) {
      furthest = piece.offset + piece.length;
      furthest_record = piece.record;
    }
    map.furthest_.push_back(furthest);
  }
  return map;
}

std::set<std::uint64_t> ClusterMap::owners(const std::vector<ByteRange>& ranges) const {
  std::set<std::uint64_t> records;
  for (auto range : ranges) {
    // The first piece that could reach into the range: no earlier one ends behind its start.
    const auto first = std::upper_bound(furthest_.begin(), furthest_.end(), range.offset) - furthest_.begin();
    for (auto i = static_cast<std::size_t>(first); i < pieces_.size() && pieces_[i].offset < range.end(); ++i)
      if (pieces_[i].offset + pieces_[i].length > range.offset) records.insert(pieces_[i].record);
  }
  return records;
}

}  // namespace roamstead::extract
