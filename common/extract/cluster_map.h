// Which file owns which clusters of a volume, of one snapshot; brought from snapshot to snapshot by what
// changed between them. Kept in a file, of which only an index and the latest changes are in memory: memory
// does not grow with the number of files but for 16 bytes in 170 runs.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/extract/map_file.h"
#include "common/extract/record_set.h"
#include "common/ntfs/volume.h"

namespace roamstead::extract {

// Where a map is kept; without a path in memory only. Beside it, "PATH.new" and "PATH.sort" are made while it
// is written. The file system must outlive the map. Nothing is synced: a map that a crash tore is found out
// and built anew.
struct MapPlace {
  os::FileSystem* files = nullptr;
  std::string path;
  bool kept() const { return files != nullptr && !path.empty(); }
};

// Not thread-safe. Records below 24 (NTFS's own files) are left out. After ErrorCode::corrupt the map is of
// no use any more: build a new one.
class ClusterMap {
 public:
  // The map as it was kept last; ErrorCode::busy while another process has it open. Whether it is of the
  // snapshot it is wanted for, its state tells. What of it was not whole any more is left out.
  static Result<std::unique_ptr<ClusterMap>> open(const MapPlace& place);
  // One pass over the MFT.
  static Result<std::unique_ptr<ClusterMap>> build(const ntfs::Volume& volume, const MapState& state,
                                                   const MapPlace& place = {});

  // For whoever passes over the MFT for other reasons too. Memory is bounded: what does not fit is sorted in
  // files.
  class Builder {
   public:
    Builder(const ntfs::VolumeInfo& volume, MapPlace place);
    ~Builder();
    // Base records in use, damaged ones as an error.
    Result<void> add(std::uint64_t record, const Result<ntfs::FileRecord>& file);
    Result<std::unique_ptr<ClusterMap>> finish(const MapState& state);

   private:
    Result<void> spill();
    const ntfs::VolumeInfo volume_;
    const MapPlace place_;
    std::vector<MapEntry> entries_;
    std::unique_ptr<os::File> sorted_;  // segments that did not fit into memory
    Guid sorted_id_;
    std::uint64_t sorted_end_ = 1;
    std::vector<MapSegment> segments_;
  };

  const MapState& state() const { return state_; }

  // Base records whose runs may differ although their MFT records do not: where an attribute list changed,
  // and those that could not be read. `changed` are bytes of the volume since state().
  Result<std::set<std::uint64_t>> unsettled(const RangeSet& changed) const;
  // From the snapshot of state() to that of `next`: `records` are all base records (on either side) that are
  // not the same on both. Fails as the volumes fail; that the file cannot be written is only a warning.
  Result<void> update(const ntfs::Volume& before, const ntfs::Volume& now,
                      const std::set<std::uint64_t>& records, const MapState& next);

  // Base records of the files with a cluster in these bytes of the volume.
  Result<std::set<std::uint64_t>> owners(const RangeSet& bytes) const;
  // Files of which a cluster belongs to another file too (or twice to themselves): all of them, or those that
  // `candidates` are in conflict with, themselves included.
  Result<std::set<std::uint64_t>> doubly_owned() const;
  Result<std::set<std::uint64_t>> doubly_owned(const ntfs::Volume& volume, const RecordSet& candidates) const;

  // Everything, in order; for tests.
  Result<std::vector<MapEntry>> entries() const;
  bool kept() const { return place_.kept(); }

 private:
  ClusterMap() = default;
  static Result<std::unique_ptr<ClusterMap>> write(std::span<const MapSegment> segments,
                                                   const std::vector<std::span<const MapEntry>>& lists,
                                                   const MapState& state, const MapPlace& place);
  Result<std::vector<MapEntry>> runs_on(const RangeSet& clusters) const;
  Result<std::vector<MapEntry>> damaged() const;
  Result<void> for_each(const std::function<Result<void>(const MapEntry&)>& visit) const;
  void absorb(std::vector<MapEntry> changes);
  Result<void> keep(const std::vector<MapEntry>& changes);
  Result<void> compact();
  RangeSet to_clusters(const RangeSet& bytes) const;

  MapPlace place_;
  std::unique_ptr<os::File> file_;
  Guid file_id_;
  MapState state_;
  std::vector<MapSegment> base_;  // one
  std::vector<MapEntry> latest_;  // all changes since, sorted, those that cancel each other out taken out
  std::uint64_t end_page_ = 0;
  std::uint64_t next_sequence_ = 1;
};

}  // namespace roamstead::extract
