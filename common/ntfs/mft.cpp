#include "common/ntfs/mft.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/ntfs/runs.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kMirroredRecords = 4;
constexpr std::size_t kScanBytes = 2u << 20;
constexpr std::uint64_t kMinRecords = 16;  // those of the file system itself
constexpr std::uint64_t kMaxRecords = std::uint64_t{1}
                                      << 32;  // what NTFS allows; a sparse disk could claim far more

}  // namespace

Mft::Mft(const vdisk::BlockDevice& device, const Geometry& geometry)
    : device_(device),
      geometry_(geometry),
      walker_(device_, geometry_, [this](std::uint64_t number) { return load(number); }) {
  // Until record 0 tells more: its own place.
  const auto clusters = (geometry.record_bytes + geometry.cluster_bytes - 1) / geometry.cluster_bytes;
  stream_.runs.push_back({0, geometry.mft_lcn, clusters, false});
  stream_.size_bytes = stream_.valid_bytes = geometry.record_bytes;
  record_count_ = 1;
}

Result<std::unique_ptr<Mft>> Mft::open(const vdisk::BlockDevice& device, const Geometry& geometry) {
  std::unique_ptr<Mft> mft(new Mft(device, geometry));
  RS_TRY(const auto first, mft->load(0));
  RS_CHECK_CTX(mft->place(0), mft->follow_runs(first));
  RS_CHECK_CTX(mft->place(0), mft->check_runs());
  return mft;
}

Result<void> Mft::follow_runs(const LoadedRecord& first) {
  if (!first.header.in_use || first.header.base) return fail(ErrorCode::corrupt, "not a base record in use");
  bool begun = false;
  // Each extent found makes more of the MFT known, in which the next extension record may lie.
  RS_CHECK(
      walker_.walk({0, first.header.sequence}, first.attributes, kData, [&](const AttributeView& extent) {
        if (!extent.name.empty()) return Result<void>{};
        if (begun) return append_extent(extent, geometry_, stream_);
        auto stream = begin_stream(extent, geometry_);
        if (!stream) return Result<void>(fail(std::move(stream).error()));
        stream_ = std::move(*stream);
        record_count_ = stream_.valid_bytes / geometry_.record_bytes;
        begun = true;
        return Result<void>{};
      }));
  if (!begun) return fail(ErrorCode::corrupt, "$MFT has no data");
  return check_complete(stream_, geometry_);
}

Result<void> Mft::check_runs() {
  if (stream_.resident || stream_.compressed || stream_.encrypted || record_count_ < kMinRecords ||
      record_count_ > kMaxRecords)
    return fail(
        ErrorCode::corrupt,
        fmt::format("$MFT of {} bytes, compressed, encrypted, too small or too large", stream_.size_bytes));
  if (stream_.runs.front().lcn != geometry_.mft_lcn)
    return fail(ErrorCode::corrupt, fmt::format("$MFT starts at cluster {}, by the boot sector at {}",
                                                stream_.runs.front().lcn, geometry_.mft_lcn));
  for (const auto& run : stream_.runs) {
    if (run.sparse)
      return fail(ErrorCode::corrupt, fmt::format("$MFT has a hole at its cluster {}", run.vcn));
    pieces_.push_back({{run.lcn * geometry_.cluster_bytes, run.clusters * geometry_.cluster_bytes},
                       run.vcn * geometry_.cluster_bytes});
  }
  std::sort(pieces_.begin(), pieces_.end(),
            [](const Piece& a, const Piece& b) { return a.device.offset < b.device.offset; });
  // Without overlaps the MFT is no larger than the volume, whatever its size claims.
  for (std::size_t i = 1; i < pieces_.size(); ++i)
    if (pieces_[i].device.offset < pieces_[i - 1].device.end())
      return fail(ErrorCode::corrupt,
                  fmt::format("two runs of $MFT hold byte {} of the volume", pieces_[i].device.offset));
  return {};
}

Result<Bytes> Mft::raw(std::uint64_t number) const {
  if (number >= record_count_)
    return fail(ErrorCode::not_found, fmt::format("{}: the MFT ends after {}", place(number), record_count_));
  Bytes bytes(geometry_.record_bytes);
  RS_CHECK_CTX(place(number),
               read_stream(device_, geometry_, stream_, number * geometry_.record_bytes, bytes));
  return bytes;
}

Result<Bytes> Mft::mirror(std::uint64_t number) const {
  Bytes bytes(geometry_.record_bytes);
  RS_CHECK(
      device_.read(geometry_.mirror_lcn * geometry_.cluster_bytes + number * geometry_.record_bytes, bytes));
  return bytes;
}

Result<LoadedRecord> Mft::parse(std::uint64_t number, Bytes bytes) const {
  LoadedRecord record;
  record.bytes = std::move(bytes);
  RS_TRY_CTX(record.header, place(number), parse_record_header(record.bytes, number));
  if (!record.header.in_use) return record;
  RS_CHECK_CTX(place(number), apply_fixups(record.bytes));
  record.attributes.reserve(16);
  RS_CHECK_CTX(place(number), parse_attributes(record.bytes, record.header, record.attributes));
  return record;
}

Result<LoadedRecord> Mft::load(std::uint64_t number) const {
  RS_TRY(auto bytes, raw(number));
  auto record = parse(number, std::move(bytes));
  if (number >= kMirroredRecords || (record && record->header.in_use)) return record;
  if (auto copy = mirror(number))
    if (auto mirrored = parse(number, std::move(*copy)); mirrored && mirrored->header.in_use) return mirrored;
  return record;
}

std::optional<std::uint64_t> Mft::device_offset(std::uint64_t number) const {
  const auto offset = number * geometry_.record_bytes;
  const auto vcn = offset / geometry_.cluster_bytes;
  for (const auto& run : stream_.runs)
    if (vcn - run.vcn < run.clusters)
      return run.lcn * geometry_.cluster_bytes + offset - run.vcn * geometry_.cluster_bytes;
  return std::nullopt;
}

std::string Mft::place(std::uint64_t number) const {
  if (const auto offset = device_offset(number))
    return fmt::format("MFT record {} at byte {} of {}", number, *offset, device_.name());
  return fmt::format("MFT record {} of {}", number, device_.name());
}

Result<void> Mft::for_each(const std::function<bool(std::uint64_t, MutableByteView)>& visit) const {
  const auto records_per_read = std::max<std::uint64_t>(kScanBytes / geometry_.record_bytes, 1);
  Bytes buffer;
  for (std::uint64_t first = 0; first < record_count_; first += records_per_read) {
    const auto count = std::min(records_per_read, record_count_ - first);
    buffer.resize(static_cast<std::size_t>(count * geometry_.record_bytes));
    RS_CHECK_CTX(fmt::format("MFT records {} to {} of {}", first, first + count - 1, device_.name()),
                 read_stream(device_, geometry_, stream_, first * geometry_.record_bytes, buffer));
    for (std::uint64_t i = 0; i < count; ++i)
      if (!visit(first + i,
                 MutableByteView(buffer).subspan(static_cast<std::size_t>(i * geometry_.record_bytes),
                                                 geometry_.record_bytes)))
        return {};
  }
  return {};
}

std::vector<RecordSpan> Mft::records_in(ByteRange range) const {
  std::vector<RecordSpan> spans;
  auto piece =
      std::upper_bound(pieces_.begin(), pieces_.end(), range.offset,
                       [](std::uint64_t offset, const Piece& item) { return offset < item.device.end(); });
  for (; piece != pieces_.end() && piece->device.offset < range.end(); ++piece) {
    const auto common = intersect(piece->device, range);
    if (common.empty()) continue;
    const auto from = piece->stream_offset + common.offset - piece->device.offset;
    const auto first = from / geometry_.record_bytes;
    const auto last = std::min((from + common.length - 1) / geometry_.record_bytes + 1, record_count_);
    if (first < last) spans.push_back({first, last - first});
  }
  std::sort(spans.begin(), spans.end(),
            [](const RecordSpan& a, const RecordSpan& b) { return a.first < b.first; });
  std::vector<RecordSpan> joined;
  for (const auto& span : spans) {
    if (!joined.empty() && span.first <= joined.back().first + joined.back().count)
      joined.back().count = std::max(joined.back().count, span.first + span.count - joined.back().first);
    else
      joined.push_back(span);
  }
  return joined;
}

}  // namespace roamstead::ntfs
