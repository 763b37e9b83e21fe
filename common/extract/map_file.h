// The cluster map's file: segments of sorted entries in pages that are checked one by one. Format:
// docs/format-cluster-map.md.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/base/guid.h"
#include "common/os/file.h"

namespace roamstead::extract {

enum class MapKind : std::uint8_t {
  data = 0,     // clusters of a $DATA stream
  list = 1,     // clusters of an attribute list: what changes in them changes the file's runs
  damaged = 2,  // a record that could not be read and may be whole the next time; no clusters
};

// One run of one file, in clusters of the volume. Entries are ordered by where they start.
struct MapEntry {
  std::uint64_t start = 0;
  std::uint64_t clusters = 0;
  std::uint64_t record = 0;  // base record, 48 bits
  MapKind kind = MapKind::data;
  bool removed = false;  // takes an equal entry of an earlier segment away

  auto operator<=>(const MapEntry&) const = default;
  std::uint64_t end() const { return start + clusters; }
  bool same_run(const MapEntry& other) const {
    return start == other.start && clusters == other.clusters && record == other.record && kind == other.kind;
  }
};

// What a map is the map of: a layer's content, and the volume in it.
struct MapState {
  Guid layer;  // its id; zero where nothing tells that a layer was written: no map of it is kept
  std::uint64_t serial = 0;
  std::uint64_t volume_offset = 0;  // on the disk
  std::uint64_t volume_bytes = 0;
  std::uint64_t record_count = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t record_bytes = 0;
  std::array<std::byte, 32> digest{};  // SHA-256 of boot sector and the MFT's own record (and more in VHDs)

  bool operator==(const MapState&) const = default;
  bool same_volume(const MapState& other) const {
    return serial == other.serial && volume_offset == other.volume_offset &&
           volume_bytes == other.volume_bytes && cluster_bytes == other.cluster_bytes &&
           record_bytes == other.record_bytes;
  }
};

inline constexpr std::size_t kMapPageBytes = 4096;

// Writes one segment, entries in ascending order. `first_page` is where the segment begins.
class MapSegmentWriter {
 public:
  MapSegmentWriter(os::File& file, const Guid& file_id, std::uint64_t first_page);

  Result<void> add(const MapEntry& entry);
  // Without a state the segment is only a part of what is being built: a map never ends with it.
  Result<void> finish(std::uint64_t sequence, const MapState* state);
  std::uint64_t end_page() const { return next_page_; }

 private:
  struct Span {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
  };
  Result<void> flush_block();
  Result<void> put_page(std::uint64_t number, bool header, MutableByteView page);
  Result<void> flush();

  os::File& file_;
  const Guid file_id_;
  const Guid nonce_ = Guid::random();
  const std::uint64_t first_page_;
  std::uint64_t next_page_;
  Bytes block_;
  std::size_t in_block_ = 0;
  Span span_;
  std::uint64_t entries_ = 0;
  std::vector<Span> spans_;  // of the blocks
  Bytes buffer_;             // whole pages, not yet written
  std::uint64_t buffer_page_;
};

// A segment opened for reading: its index is in memory, its blocks are read and checked when they are needed.
// The file must outlive it.
class MapSegment {
 public:
  // ErrorCode::corrupt when there is no whole header and index at this page.
  static Result<MapSegment> open(const os::File& file, const Guid& file_id, std::uint64_t page);

  std::uint64_t sequence() const { return sequence_; }
  const std::optional<MapState>& state() const { return state_; }
  std::uint64_t entries() const { return entries_; }
  std::uint64_t end_page() const { return end_page_; }
  std::size_t blocks() const { return blocks_.size(); }
  // Clusters from the first entry's start to the furthest end of this block's and all earlier ones' entries.
  std::uint64_t start_of(std::size_t block) const { return blocks_[block].start; }
  std::uint64_t furthest_end(std::size_t block) const { return blocks_[block].furthest_end; }
  // Replaces `out`. ErrorCode::corrupt where the block is not the one that was written.
  Result<void> read_block(std::size_t block, std::vector<MapEntry>& out) const;

 private:
  struct Block {
    std::uint64_t start = 0;
    std::uint64_t furthest_end = 0;
  };
  Result<void> load_index();

  const os::File* file_ = nullptr;
  Guid file_id_, nonce_;
  std::uint64_t first_page_ = 0;
  std::uint64_t end_page_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t entries_ = 0;
  std::optional<MapState> state_;
  std::vector<Block> blocks_;
};

// Page 0: gives the file its id.
Result<Guid> write_map_header(os::File& file);
Result<Guid> read_map_header(const os::File& file);

// Entries of segments and of sorted lists in ascending order, what was removed taken out. Stops with the
// visitor's error; ErrorCode::corrupt when something is removed that is not there.
Result<void> merge_map_entries(std::span<const MapSegment> segments,
                               const std::vector<std::span<const MapEntry>>& lists,
                               const std::function<Result<void>(const MapEntry&)>& visit);

}  // namespace roamstead::extract
