#include "common/extract/map_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "common/base/crc32c.h"

namespace roamstead::extract {
namespace {

constexpr std::string_view kMapMagic = "RSCLUMAP";
constexpr std::string_view kSegmentMagic = "RSCLUSEG";
// Raised also when common/ntfs comes to read other runs of the same volume: old maps are then built anew.
constexpr std::uint32_t kMapVersion = 1;
constexpr std::size_t kPageHeaderBytes = 8;  // checksum, count
constexpr std::size_t kEntryBytes = 24;
constexpr std::size_t kEntriesPerBlock = (kMapPageBytes - kPageHeaderBytes) / kEntryBytes;
constexpr std::size_t kSpanBytes = 16;
constexpr std::size_t kSpansPerPage = (kMapPageBytes - kPageHeaderBytes) / kSpanBytes;
constexpr std::size_t kBufferBytes = 256u << 10;
constexpr std::uint64_t kRecordMask = (std::uint64_t{1} << 48) - 1;
constexpr std::uint64_t kRemoved = std::uint64_t{1} << 63;
constexpr unsigned kKindShift = 60;

// A page of another file, of another segment or of another place does not verify here.
std::uint32_t checksum(const Guid& file_id, const Guid& nonce, std::uint64_t page, ByteView bytes) {
  std::array<std::byte, 40> place{};
  std::copy(file_id.bytes.begin(), file_id.bytes.end(), place.begin());
  std::copy(nonce.bytes.begin(), nonce.bytes.end(), place.begin() + 16);
  store_le<std::uint64_t>(place, 32, page);
  return crc32c(bytes.subspan(4), crc32c(place));
}

Result<void> read_page(const os::File& file, const Guid& file_id, const Guid& nonce, std::uint64_t page,
                       MutableByteView out) {
  RS_CHECK(file.read_exactly(page * kMapPageBytes, out));
  if (checksum(file_id, nonce, page, out) != load_le<std::uint32_t>(out))
    return fail(ErrorCode::corrupt,
                fmt::format("{}: page at {}: its checksum is wrong", file.path(), page * kMapPageBytes));
  return {};
}

std::uint64_t pages_for(std::uint64_t count, std::uint64_t per_page) {
  return count / per_page + (count % per_page != 0 ? 1 : 0);
}

void store_state(MutableByteView page, std::size_t at, const MapState& state) {
  std::copy(state.layer.bytes.begin(), state.layer.bytes.end(),
            page.begin() + static_cast<std::ptrdiff_t>(at));
  store_le(page, at + 16, state.serial);
  store_le(page, at + 24, state.volume_offset);
  store_le(page, at + 32, state.volume_bytes);
  store_le(page, at + 40, state.record_count);
  store_le(page, at + 48, state.cluster_bytes);
  store_le(page, at + 52, state.record_bytes);
  std::copy(state.digest.begin(), state.digest.end(), page.begin() + static_cast<std::ptrdiff_t>(at + 56));
}

MapState load_state(ByteView page, std::size_t at) {
  MapState state;
  state.layer = Guid::from(page.subspan(at, 16));
  state.serial = load_le<std::uint64_t>(page, at + 16);
  state.volume_offset = load_le<std::uint64_t>(page, at + 24);
  state.volume_bytes = load_le<std::uint64_t>(page, at + 32);
  state.record_count = load_le<std::uint64_t>(page, at + 40);
  state.cluster_bytes = load_le<std::uint32_t>(page, at + 48);
  state.record_bytes = load_le<std::uint32_t>(page, at + 52);
  std::copy_n(page.begin() + static_cast<std::ptrdiff_t>(at + 56), state.digest.size(), state.digest.begin());
  return state;
}

}  // namespace

Result<Guid> write_map_header(os::File& file) {
  const auto id = Guid::random();
  Bytes page(kMapPageBytes);
  std::copy(kMapMagic.begin(), kMapMagic.end(), reinterpret_cast<char*>(page.data()) + kPageHeaderBytes);
  store_le<std::uint32_t>(page, 16, kMapVersion);
  std::copy(id.bytes.begin(), id.bytes.end(), page.begin() + 24);
  store_le<std::uint32_t>(page, 0, checksum({}, {}, 0, page));
  RS_CHECK(file.write_at(0, page));
  return id;
}

Result<Guid> read_map_header(const os::File& file) {
  Bytes page(kMapPageBytes);
  RS_CHECK(read_page(file, {}, {}, 0, page));
  if (as_text(ByteView(page).subspan(kPageHeaderBytes, kMapMagic.size())) != kMapMagic)
    return fail(ErrorCode::corrupt, file.path() + ": offset 8: not a cluster map");
  if (const auto version = load_le<std::uint32_t>(page, 16); version != kMapVersion)
    return fail(ErrorCode::unsupported,
                fmt::format("{}: offset 16: version {}, {} expected", file.path(), version, kMapVersion));
  return Guid::from(ByteView(page).subspan(24, 16));
}

MapSegmentWriter::MapSegmentWriter(os::File& file, const Guid& file_id, std::uint64_t first_page)
    : file_(file),
      file_id_(file_id),
      first_page_(first_page),
      next_page_(first_page + 1),  // the header comes last, when its numbers are known
      block_(kMapPageBytes),
      buffer_page_(first_page + 1) {}

Result<void> MapSegmentWriter::add(const MapEntry& entry) {
  if (in_block_ == kEntriesPerBlock) RS_CHECK(flush_block());
  if (in_block_ == 0) span_.start = entry.start;
  span_.end = std::max(span_.end, entry.end());
  const auto at = kPageHeaderBytes + in_block_++ * kEntryBytes;
  store_le(MutableByteView(block_), at, entry.start);
  store_le(MutableByteView(block_), at + 8, entry.clusters);
  store_le<std::uint64_t>(block_, at + 16,
                          entry.record | std::uint64_t{static_cast<std::uint8_t>(entry.kind)} << kKindShift |
                              (entry.removed ? kRemoved : 0));
  ++entries_;
  return {};
}

Result<void> MapSegmentWriter::flush_block() {
  if (in_block_ == 0) return {};
  store_le<std::uint32_t>(block_, 4, static_cast<std::uint32_t>(in_block_));
  RS_CHECK(put_page(next_page_++, false, block_));
  spans_.push_back(span_);  // its end is the furthest so far
  in_block_ = 0;
  std::fill(block_.begin(), block_.end(), std::byte{0});
  return {};
}

Result<void> MapSegmentWriter::put_page(std::uint64_t number, bool header, MutableByteView page) {
  store_le<std::uint32_t>(page, 0, checksum(file_id_, header ? Guid{} : nonce_, number, page));
  if (buffer_.empty()) buffer_page_ = number;
  buffer_.insert(buffer_.end(), page.begin(), page.end());
  return buffer_.size() < kBufferBytes ? Result<void>{} : flush();
}

Result<void> MapSegmentWriter::flush() {
  if (!buffer_.empty()) RS_CHECK(file_.write_at(buffer_page_ * kMapPageBytes, buffer_));
  buffer_.clear();
  return {};
}

Result<void> MapSegmentWriter::finish(std::uint64_t sequence, const MapState* state) {
  RS_CHECK(flush_block());
  Bytes page(kMapPageBytes);
  for (std::size_t first = 0; first < spans_.size(); first += kSpansPerPage) {
    const auto count = std::min(kSpansPerPage, spans_.size() - first);
    std::fill(page.begin(), page.end(), std::byte{0});
    store_le<std::uint32_t>(page, 4, static_cast<std::uint32_t>(count));
    for (std::size_t i = 0; i < count; ++i) {
      const auto at = kPageHeaderBytes + i * kSpanBytes;
      store_le(MutableByteView(page), at, spans_[first + i].start);
      store_le(MutableByteView(page), at + 8, spans_[first + i].end);
    }
    RS_CHECK(put_page(next_page_++, false, page));
  }
  RS_CHECK(flush());
  std::fill(page.begin(), page.end(), std::byte{0});
  std::copy(kSegmentMagic.begin(), kSegmentMagic.end(),
            reinterpret_cast<char*>(page.data()) + kPageHeaderBytes);
  std::copy(nonce_.bytes.begin(), nonce_.bytes.end(), page.begin() + 16);
  store_le(MutableByteView(page), 32, sequence);
  store_le<std::uint64_t>(page, 40, spans_.size());
  store_le(MutableByteView(page), 48, entries_);
  store_le<std::uint32_t>(page, 56, state != nullptr ? 1 : 0);
  if (state != nullptr) store_state(page, 64, *state);
  RS_CHECK(put_page(first_page_, true, page));
  return flush();
}

Result<MapSegment> MapSegment::open(const os::File& file, const Guid& file_id, std::uint64_t page) {
  MapSegment segment;
  segment.file_ = &file;
  segment.file_id_ = file_id;
  segment.first_page_ = page;
  Bytes header(kMapPageBytes);
  RS_CHECK(read_page(file, file_id, {}, page, header));
  if (as_text(ByteView(header).subspan(kPageHeaderBytes, kSegmentMagic.size())) != kSegmentMagic)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: page at {}: no segment", file.path(), page * kMapPageBytes));
  segment.nonce_ = Guid::from(ByteView(header).subspan(16, 16));
  segment.sequence_ = load_le<std::uint64_t>(header, 32);
  const auto blocks = load_le<std::uint64_t>(header, 40);
  segment.entries_ = load_le<std::uint64_t>(header, 48);
  if (load_le<std::uint32_t>(header, 56) != 0) segment.state_ = load_state(header, 64);
  RS_TRY(const auto size, file.size());
  const auto pages_left = size / kMapPageBytes - page - 1;  // the header was read, so there are as many
  if (blocks > pages_left || pages_for(blocks, kSpansPerPage) > pages_left - blocks ||
      segment.entries_ > blocks * kEntriesPerBlock)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: page at {}: a segment of {} blocks and {} entries, {} pages follow",
                            file.path(), page * kMapPageBytes, blocks, segment.entries_, pages_left));
  segment.end_page_ = page + 1 + blocks + pages_for(blocks, kSpansPerPage);
  segment.blocks_.resize(blocks);
  RS_CHECK(segment.load_index());
  return segment;
}

Result<void> MapSegment::load_index() {
  Bytes page(kMapPageBytes);
  auto number = first_page_ + 1 + blocks_.size();
  Block last;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const auto in_page = i % kSpansPerPage;
    if (in_page == 0) RS_CHECK(read_page(*file_, file_id_, nonce_, number++, page));
    const auto at = kPageHeaderBytes + in_page * kSpanBytes;
    blocks_[i] = {load_le<std::uint64_t>(page, at), load_le<std::uint64_t>(page, at + 8)};
    if (blocks_[i].start < last.start || blocks_[i].furthest_end < last.furthest_end)
      return fail(ErrorCode::corrupt, file_->path() + ": an index that does not ascend");
    last = blocks_[i];
  }
  return {};
}

Result<void> MapSegment::read_block(std::size_t block, std::vector<MapEntry>& out) const {
  std::array<std::byte, kMapPageBytes> page;
  out.clear();
  RS_CHECK(read_page(*file_, file_id_, nonce_, first_page_ + 1 + block, page));
  const auto count = load_le<std::uint32_t>(page, 4);
  const auto bad = [&](std::string_view what) {
    return fail(ErrorCode::corrupt, fmt::format("{}: page at {}: {}", file_->path(),
                                                (first_page_ + 1 + block) * kMapPageBytes, what));
  };
  if (count == 0 || count > kEntriesPerBlock) return bad("an impossible number of entries");
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = kPageHeaderBytes + i * kEntryBytes;
    const auto owner = load_le<std::uint64_t>(page, at + 16);
    const auto kind = owner >> kKindShift & 7;
    MapEntry entry{load_le<std::uint64_t>(page, at), load_le<std::uint64_t>(page, at + 8),
                   owner & kRecordMask, static_cast<MapKind>(kind), (owner & kRemoved) != 0};
    if (kind > static_cast<std::uint64_t>(MapKind::damaged) || entry.end() < entry.start ||
        (!out.empty() && entry < out.back()))
      return bad("an impossible entry");
    out.push_back(entry);
  }
  if (out.front().start != blocks_[block].start) return bad("not the block its index speaks of");
  return {};
}

namespace {

// Walks one source of entries.
class Cursor {
 public:
  explicit Cursor(const MapSegment& segment) : segment_(&segment) {}
  explicit Cursor(std::span<const MapEntry> list) : list_(list) {}

  // False at the end.
  Result<bool> advance() {
    if (segment_ == nullptr) return ++at_ <= list_.size();
    if (++at_ <= block_.size()) return true;
    if (next_block_ == segment_->blocks()) return false;
    RS_CHECK(segment_->read_block(next_block_++, block_));
    at_ = 1;
    return true;
  }
  const MapEntry& entry() const { return segment_ == nullptr ? list_[at_ - 1] : block_[at_ - 1]; }

 private:
  const MapSegment* segment_ = nullptr;
  std::span<const MapEntry> list_;
  std::vector<MapEntry> block_;
  std::size_t at_ = 0;
  std::size_t next_block_ = 0;
};

}  // namespace

Result<void> merge_map_entries(std::span<const MapSegment> segments,
                               const std::vector<std::span<const MapEntry>>& lists,
                               const std::function<Result<void>(const MapEntry&)>& visit) {
  std::vector<Cursor> cursors;
  for (const auto& segment : segments) cursors.emplace_back(segment);
  for (const auto& list : lists) cursors.emplace_back(list);
  const auto later = [&](std::size_t a, std::size_t b) { return cursors[b].entry() < cursors[a].entry(); };
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> next(later);
  for (std::size_t i = 0; i < cursors.size(); ++i) {
    RS_TRY(const bool more, cursors[i].advance());
    if (more) next.push(i);
  }
  while (!next.empty()) {
    MapEntry run = cursors[next.top()].entry();
    run.removed = false;
    std::int64_t times = 0;
    while (!next.empty() && cursors[next.top()].entry().same_run(run)) {
      const auto from = next.top();
      next.pop();
      times += cursors[from].entry().removed ? -1 : 1;
      RS_TRY(const bool more, cursors[from].advance());
      if (more) next.push(from);
    }
    if (times < 0)
      return fail(ErrorCode::corrupt, fmt::format("cluster map: record {} lost clusters {} it did not have",
                                                  run.record, run.start));
    for (; times > 0; --times) RS_CHECK(visit(run));
  }
  return {};
}

}  // namespace roamstead::extract
