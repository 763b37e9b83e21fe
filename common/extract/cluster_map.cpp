#include "common/extract/cluster_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/extract/memory_file.h"

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kFirstOrdinaryRecord = 24;
constexpr std::size_t kMostInMemory = 512u << 10;  // entries of 32 bytes while a map is built
constexpr std::size_t kMostLatest = 16u << 10;     // changes; with more the map is written anew
constexpr std::uint64_t kMostSegments = 256;       // the same

using RunList = std::vector<MapEntry>;

// What the map says of a base record, in order.
Result<RunList> runs_of(std::uint64_t record, const Result<ntfs::FileRecord>& file,
                        const ntfs::VolumeInfo& volume) {
  RunList runs;
  if (record < kFirstOrdinaryRecord) return runs;
  if (!file) {
    if (file.error().code == ErrorCode::io) return fail(file.error());
    if (file.error().code != ErrorCode::not_found) runs.push_back({0, 0, record, MapKind::damaged, false});
    return runs;
  }
  const auto clusters = volume.volume_bytes / volume.cluster_bytes;
  const auto add = [&](const std::vector<ntfs::Run>& stream, MapKind kind) {
    for (const auto& run : stream)
      if (!run.sparse && run.lcn < clusters && run.clusters <= clusters - run.lcn)
        runs.push_back({run.lcn, run.clusters, record, kind, false});
  };
  for (const auto& stream : file->streams) add(stream.runs, MapKind::data);
  add(file->attribute_list_runs, MapKind::list);
  std::sort(runs.begin(), runs.end());
  return runs;
}

// A base record as a scan would give it: one that is an extension is not looked into.
Result<ntfs::FileRecord> read_base(const ntfs::Volume& volume, std::uint64_t record) {
  RS_TRY(const auto base, volume.base_record(record));
  if (base != record) return fail(ErrorCode::not_found, fmt::format("MFT record {} is an extension", record));
  return volume.record(record);
}

// Runs that are neither removed nor removals, from those that `hits` (unsorted) are all changes of.
Result<RunList> settle(RunList hits) {
  std::sort(hits.begin(), hits.end());
  RunList runs;
  RS_CHECK(merge_map_entries({}, {std::span<const MapEntry>(hits)}, [&](const MapEntry& run) {
    runs.push_back(run);
    return Result<void>{};
  }));
  return runs;
}

// Takes runs in order.
class Conflicts {
 public:
  void add(const MapEntry& run) {
    if (run.kind != MapKind::data) return;
    if (run.start < furthest_) found_.insert({run.record, furthest_record_});
    if (run.end() > furthest_) {
      furthest_ = run.end();
      furthest_record_ = run.record;
    }
  }
  std::set<std::uint64_t> take() { return std::move(found_); }

 private:
  std::uint64_t furthest_ = 0, furthest_record_ = 0;
  std::set<std::uint64_t> found_;
};

Result<std::unique_ptr<os::File>> new_file(const MapPlace& place, const char* suffix) {
  if (!place.kept()) return std::unique_ptr<os::File>(std::make_unique<MemoryFile>());
  RS_TRY(auto file, place.files->open(place.path + suffix, os::OpenMode::create));
  RS_CHECK(file->lock(true));
  RS_CHECK(file->truncate(0));
  return file;
}

}  // namespace

Result<std::unique_ptr<ClusterMap>> ClusterMap::open(const MapPlace& place) {
  if (!place.kept()) return fail(ErrorCode::not_found, "a cluster map that is not kept");
  std::unique_ptr<ClusterMap> map(new ClusterMap);
  map->place_ = place;
  RS_TRY(map->file_, place.files->open(place.path, os::OpenMode::read_write));
  RS_CHECK(map->file_->lock(true));
  RS_TRY(map->file_id_, read_map_header(*map->file_));
  RS_TRY(auto base, MapSegment::open(*map->file_, map->file_id_, 1));
  if (!base.state() || base.sequence() != 0)
    return fail(ErrorCode::corrupt, place.path + ": the first segment is no whole map");
  map->state_ = *base.state();
  map->end_page_ = base.end_page();
  map->base_.push_back(std::move(base));
  // Each segment that is whole brings the map to a later state. The first that is not ends it.
  RunList changes, block;
  while (map->next_sequence_ < 2 * kMostSegments) {
    auto segment = MapSegment::open(*map->file_, map->file_id_, map->end_page_);
    if (!segment || !segment->state() || segment->sequence() != map->next_sequence_) break;
    changes.clear();
    bool whole = segment->entries() <= 2 * kMostLatest;
    for (std::size_t i = 0; whole && i < segment->blocks(); ++i) {
      whole = segment->read_block(i, block).has_value();
      changes.insert(changes.end(), block.begin(), block.end());
    }
    if (!whole) break;
    map->absorb(std::move(changes));
    map->state_ = *segment->state();
    map->end_page_ = segment->end_page();
    ++map->next_sequence_;
  }
  return map;
}

Result<std::unique_ptr<ClusterMap>> ClusterMap::build(const ntfs::Volume& volume, const MapState& state,
                                                      const MapPlace& place) {
  Builder builder(volume.info(), place);
  Result<void> added;
  RS_CHECK(volume.scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    added = builder.add(number, file);
    return added.has_value();
  }));
  RS_CHECK(std::move(added));
  return builder.finish(state);
}

ClusterMap::Builder::Builder(const ntfs::VolumeInfo& volume, MapPlace place)
    : volume_(volume), place_(std::move(place)) {}

ClusterMap::Builder::~Builder() {
  if (sorted_ == nullptr || !place_.kept()) return;
  sorted_.reset();
  (void)place_.files->remove(place_.path + ".sort");
}

Result<void> ClusterMap::Builder::add(std::uint64_t record, const Result<ntfs::FileRecord>& file) {
  RS_TRY(const auto runs, runs_of(record, file, volume_));
  if (entries_.size() + runs.size() > kMostInMemory) RS_CHECK(spill());
  entries_.insert(entries_.end(), runs.begin(), runs.end());
  return {};
}

Result<void> ClusterMap::Builder::spill() {
  if (sorted_ == nullptr) {
    RS_TRY(sorted_, new_file(place_, ".sort"));
    RS_TRY(sorted_id_, write_map_header(*sorted_));
  }
  std::sort(entries_.begin(), entries_.end());
  MapSegmentWriter writer(*sorted_, sorted_id_, sorted_end_);
  for (const auto& entry : entries_) RS_CHECK(writer.add(entry));
  RS_CHECK(writer.finish(segments_.size(), nullptr));
  RS_TRY(auto segment, MapSegment::open(*sorted_, sorted_id_, sorted_end_));
  segments_.push_back(std::move(segment));
  sorted_end_ = writer.end_page();
  entries_.clear();
  return {};
}

Result<std::unique_ptr<ClusterMap>> ClusterMap::Builder::finish(const MapState& state) {
  std::sort(entries_.begin(), entries_.end());
  return write(segments_, {std::span<const MapEntry>(entries_)}, state, place_);
}

// A new file with one segment, put in the place of the one before.
Result<std::unique_ptr<ClusterMap>> ClusterMap::write(std::span<const MapSegment> segments,
                                                      const std::vector<std::span<const MapEntry>>& lists,
                                                      const MapState& state, const MapPlace& place) {
  std::unique_ptr<ClusterMap> map(new ClusterMap);
  map->place_ = place;
  map->state_ = state;
  RS_TRY(map->file_, new_file(place, ".new"));
  RS_TRY(map->file_id_, write_map_header(*map->file_));
  MapSegmentWriter writer(*map->file_, map->file_id_, 1);
  RS_CHECK(merge_map_entries(segments, lists, [&](const MapEntry& entry) { return writer.add(entry); }));
  RS_CHECK(writer.finish(0, &state));
  RS_TRY(auto base, MapSegment::open(*map->file_, map->file_id_, 1));
  map->end_page_ = base.end_page();
  map->base_.push_back(std::move(base));
  if (place.kept()) RS_CHECK(place.files->rename(place.path + ".new", place.path));
  return map;
}

Result<void> ClusterMap::for_each(const std::function<Result<void>(const MapEntry&)>& visit) const {
  return merge_map_entries(base_, {std::span<const MapEntry>(latest_)}, visit);
}

RangeSet ClusterMap::to_clusters(const RangeSet& bytes) const {
  RangeSet clusters;
  for (const auto& range : bytes.ranges()) {
    const auto first = range.offset / state_.cluster_bytes;
    clusters.add({first, (range.end() - 1) / state_.cluster_bytes + 1 - first});
  }
  return clusters;
}

Result<std::vector<MapEntry>> ClusterMap::runs_on(const RangeSet& clusters) const {
  const auto ranges = clusters.ranges();
  RunList hits, entries;
  std::size_t passed = 0;  // ranges in front of the entries that come now: both ascend
  const auto take = [&](const RunList& from) {
    for (const auto& entry : from) {
      while (passed < ranges.size() && ranges[passed].end() <= entry.start) ++passed;
      if (passed < ranges.size() && ranges[passed].offset < entry.end()) hits.push_back(entry);
    }
  };
  const auto& base = base_.front();
  std::size_t block = 0;  // each is read once at most, whatever the runs in it are like
  for (const auto& range : ranges) {
    // The first that could reach into the range: none of the earlier ones' entries ends behind its start.
    std::size_t low = block, high = base.blocks();
    while (low < high) {
      const auto middle = low + (high - low) / 2;
      if (base.furthest_end(middle) > range.offset)
        high = middle;
      else
        low = middle + 1;
    }
    for (block = low; block < base.blocks() && base.start_of(block) < range.end(); ++block) {
      RS_CHECK(base.read_block(block, entries));
      take(entries);
    }
  }
  passed = 0;
  take(latest_);
  return settle(std::move(hits));
}

// They are in front: a damaged record's entry begins at cluster 0 and is empty.
Result<std::vector<MapEntry>> ClusterMap::damaged() const {
  RunList hits, entries;
  const auto take = [&](const RunList& from) {
    for (const auto& entry : from) {
      if (entry.clusters != 0) return false;
      hits.push_back(entry);
    }
    return true;
  };
  for (std::size_t block = 0; block < base_.front().blocks(); ++block) {
    RS_CHECK(base_.front().read_block(block, entries));
    if (!take(entries)) break;
  }
  take(latest_);
  return settle(std::move(hits));
}

Result<std::set<std::uint64_t>> ClusterMap::unsettled(const RangeSet& changed) const {
  std::set<std::uint64_t> records;
  RS_TRY(const auto unread, damaged());
  for (const auto& entry : unread) records.insert(entry.record);
  RS_TRY(const auto runs, runs_on(to_clusters(changed)));
  for (const auto& run : runs)
    if (run.kind == MapKind::list) records.insert(run.record);
  return records;
}

Result<void> ClusterMap::update(const ntfs::Volume& before, const ntfs::Volume& now,
                                const std::set<std::uint64_t>& records, const MapState& next) {
  RunList changes;
  for (auto record : records) {
    RS_TRY(const auto old_runs, runs_of(record, read_base(before, record), before.info()));
    RS_TRY(const auto runs, runs_of(record, read_base(now, record), now.info()));
    const auto first = static_cast<std::ptrdiff_t>(changes.size());
    std::set_difference(old_runs.begin(), old_runs.end(), runs.begin(), runs.end(),
                        std::back_inserter(changes));
    std::for_each(changes.begin() + first, changes.end(), [](MapEntry& entry) { entry.removed = true; });
    std::set_difference(runs.begin(), runs.end(), old_runs.begin(), old_runs.end(),
                        std::back_inserter(changes));
  }
  std::sort(changes.begin(), changes.end());
  state_ = next;
  absorb(changes);
  auto written = latest_.size() > kMostLatest || next_sequence_ >= kMostSegments ? compact() : keep(changes);
  if (!written && written.error().code == ErrorCode::corrupt) return written;
  if (!written) {  // what is on disk is an older state, and stays one
    log_warning("the cluster map is not kept from here on: {}", written.error().to_string());
    place_ = {};
  }
  return {};
}

// Entries that take each other away are left out, so that a file that changes again and again counts once.
void ClusterMap::absorb(std::vector<MapEntry> changes) {
  RunList merged, left;
  merged.reserve(latest_.size() + changes.size());
  std::merge(latest_.begin(), latest_.end(), changes.begin(), changes.end(), std::back_inserter(merged));
  for (std::size_t i = 0; i < merged.size();) {
    std::int64_t times = 0;
    auto run = merged[i];
    for (; i < merged.size() && merged[i].same_run(run); ++i) times += merged[i].removed ? -1 : 1;
    run.removed = times < 0;
    left.insert(left.end(), static_cast<std::size_t>(times < 0 ? -times : times), run);
  }
  latest_ = std::move(left);
}

// Appends a segment, in one piece as seen by a reader: it counts when its header is there and every page of
// it verifies.
Result<void> ClusterMap::keep(const std::vector<MapEntry>& changes) {
  if (!place_.kept()) return {};
  RS_TRY(const auto size, file_->size());
  if (size > end_page_ * kMapPageBytes) RS_CHECK(file_->truncate(end_page_ * kMapPageBytes));
  MapSegmentWriter writer(*file_, file_id_, end_page_);
  for (const auto& entry : changes) RS_CHECK(writer.add(entry));
  RS_CHECK(writer.finish(next_sequence_, &state_));
  end_page_ = writer.end_page();
  ++next_sequence_;
  return {};
}

Result<void> ClusterMap::compact() {
  auto written = write(base_, {std::span<const MapEntry>(latest_)}, state_, place_);
  if (!written && place_.kept() && written.error().code != ErrorCode::corrupt) {
    log_warning("the cluster map is not kept from here on: {}", written.error().to_string());
    place_ = {};
    written = write(base_, {std::span<const MapEntry>(latest_)}, state_, place_);
  }
  if (!written) return fail(std::move(written).error());
  *this = std::move(**written);
  return {};
}

Result<std::set<std::uint64_t>> ClusterMap::owners(const RangeSet& bytes) const {
  RS_TRY(const auto runs, runs_on(to_clusters(bytes)));
  std::set<std::uint64_t> records;
  for (const auto& run : runs) records.insert(run.record);
  return records;
}

Result<std::set<std::uint64_t>> ClusterMap::doubly_owned() const {
  Conflicts conflicts;
  RS_CHECK(for_each([&](const MapEntry& run) {
    conflicts.add(run);
    return Result<void>{};
  }));
  return conflicts.take();
}

Result<std::set<std::uint64_t>> ClusterMap::doubly_owned(const ntfs::Volume& volume,
                                                         const RecordSet& candidates) const {
  RangeSet clusters;
  for (auto record : candidates) {
    RS_TRY(const auto runs, runs_of(record, read_base(volume, record), volume.info()));
    for (const auto& run : runs) clusters.add({run.start, run.clusters});
  }
  RS_TRY(const auto runs, runs_on(clusters));
  Conflicts conflicts;
  for (const auto& run : runs) conflicts.add(run);
  return conflicts.take();
}

Result<std::vector<MapEntry>> ClusterMap::entries() const {
  RunList all;
  RS_CHECK(for_each([&](const MapEntry& run) {
    all.push_back(run);
    return Result<void>{};
  }));
  return all;
}

}  // namespace roamstead::extract
