#include "common/ntfs/stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/text.h"
#include "common/ntfs/lznt1.h"
#include "common/ntfs/runs.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kMaxUnitBytes = 64u << 10;

void zero(MutableByteView out) { std::fill(out.begin(), out.end(), std::byte{0}); }

// The run that holds this cluster, or end.
std::vector<Run>::const_iterator find_run(const std::vector<Run>& runs, std::uint64_t vcn) {
  auto after = std::upper_bound(runs.begin(), runs.end(), vcn,
                                [](std::uint64_t wanted, const Run& run) { return wanted < run.vcn; });
  if (after == runs.begin()) return runs.end();
  auto run = std::prev(after);
  return vcn - run->vcn < run->clusters ? run : runs.end();
}

Result<void> read_clusters(const vdisk::BlockDevice& device, const Geometry& geometry,
                           const StreamInfo& stream, std::uint64_t offset, MutableByteView out) {
  auto run = find_run(stream.runs, offset / geometry.cluster_bytes);
  while (!out.empty()) {
    if (run == stream.runs.end() || run->vcn > offset / geometry.cluster_bytes)
      return fail(ErrorCode::corrupt, fmt::format("no cluster for byte {} of the stream", offset));
    const auto within = offset - run->vcn * geometry.cluster_bytes;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(run->clusters * geometry.cluster_bytes - within, out.size()));
    if (run->sparse)
      zero(out.first(count));
    else
      RS_CHECK(device.read(run->lcn * geometry.cluster_bytes + within, out.first(count)));
    out = out.subspan(count);
    offset += count;
    ++run;
  }
  return {};
}

// The first `count` clusters of a unit, wherever they lie; ErrorCode::corrupt when some of them are holes.
Result<void> read_unit_clusters(const vdisk::BlockDevice& device, const Geometry& geometry,
                                const StreamInfo& stream, std::uint64_t vcn, MutableByteView out) {
  for (auto run = find_run(stream.runs, vcn); !out.empty(); ++run) {
    if (run == stream.runs.end() || run->sparse)
      return fail(ErrorCode::corrupt, fmt::format("a hole within the compressed data at cluster {}", vcn));
    const auto within = vcn - run->vcn;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>((run->clusters - within) * geometry.cluster_bytes, out.size()));
    RS_CHECK(device.read((run->lcn + within) * geometry.cluster_bytes, out.first(count)));
    out = out.subspan(count);
    vcn += count / geometry.cluster_bytes;
  }
  return {};
}

// How many clusters of [vcn, vcn + count) are stored.
std::uint64_t stored_clusters(const StreamInfo& stream, std::uint64_t vcn, std::uint64_t count) {
  std::uint64_t stored = 0;
  const auto end = vcn + count;
  for (auto run = find_run(stream.runs, vcn); run != stream.runs.end() && run->vcn < end; ++run)
    if (!run->sparse) stored += std::min(run->vcn + run->clusters, end) - std::max(run->vcn, vcn);
  return stored;
}

// A unit of a compressed stream is a hole, stored as it is (all its clusters are there), or LZNT1 in its
// first clusters with a hole behind them.
Result<void> read_unit(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                       std::uint64_t vcn, Bytes& stored, MutableByteView out) {
  // The last unit may end with the attribute.
  const auto there = std::min<std::uint64_t>(stream.unit_clusters, end_vcn(stream.runs) - vcn);
  const auto count = stored_clusters(stream, vcn, there);
  if (count == 0) {
    zero(out);
    return {};
  }
  stored.resize(static_cast<std::size_t>(count * geometry.cluster_bytes));
  RS_CHECK(read_unit_clusters(device, geometry, stream, vcn, stored));
  if (count == stream.unit_clusters) {
    std::copy(stored.begin(), stored.end(), out.begin());
    return {};
  }
  RS_CHECK_CTX(fmt::format("compression unit at cluster {}", vcn), decompress_lznt1(stored, out));
  return {};
}

Result<void> read_units(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                        std::uint64_t offset, MutableByteView out) {
  const auto unit_bytes = std::uint64_t{stream.unit_clusters} * geometry.cluster_bytes;
  Bytes stored;
  Bytes unit;
  while (!out.empty()) {
    const auto within = static_cast<std::size_t>(offset % unit_bytes);
    const auto vcn = (offset - within) / geometry.cluster_bytes;
    const auto count = std::min(static_cast<std::size_t>(unit_bytes) - within, out.size());
    if (count == unit_bytes) {
      RS_CHECK(read_unit(device, geometry, stream, vcn, stored, out.first(count)));
    } else {
      unit.resize(static_cast<std::size_t>(unit_bytes));
      RS_CHECK(read_unit(device, geometry, stream, vcn, stored, unit));
      std::copy_n(unit.begin() + static_cast<std::ptrdiff_t>(within), count, out.begin());
    }
    out = out.subspan(count);
    offset += count;
  }
  return {};
}

// NTFS compresses units of 16 clusters of at most 4 KiB; more than 64 KiB is not believed. 0: not known.
std::uint32_t unit_of(const AttributeView& attribute, const Geometry& geometry) {
  const auto shift = attribute.compression_unit_shift;
  if ((attribute.flags & 0xFF) != 1 || shift == 0 || shift > 16 ||
      (std::uint64_t{geometry.cluster_bytes} << shift) > kMaxUnitBytes)
    return 0;
  return 1u << shift;
}

}  // namespace

Result<StreamInfo> begin_stream(const AttributeView& attribute, const Geometry& geometry) {
  StreamInfo stream;
  stream.name = utf16le_to_wtf8(attribute.name);
  stream.compressed = attribute.compressed();
  stream.encrypted = attribute.encrypted();
  stream.sparse = attribute.sparse();
  stream.resident = attribute.resident;
  if (attribute.resident) {
    stream.resident_data = to_bytes(attribute.value);
    stream.size_bytes = stream.valid_bytes = attribute.value.size();
    return stream;
  }
  stream.size_bytes = attribute.size_bytes;
  stream.valid_bytes = attribute.valid_bytes;
  if (stream.size_bytes >> 63 != 0 || stream.valid_bytes > stream.size_bytes)
    return fail(ErrorCode::corrupt,
                fmt::format("attribute 0x{:x} at byte {}: {} of {} bytes valid", attribute.type,
                            attribute.offset, stream.valid_bytes, stream.size_bytes));
  if (stream.compressed) stream.unit_clusters = unit_of(attribute, geometry);
  RS_CHECK(append_extent(attribute, geometry, stream));
  return stream;
}

Result<void> append_extent(const AttributeView& attribute, const Geometry& geometry, StreamInfo& stream) {
  if (attribute.resident || stream.resident)
    return fail(ErrorCode::corrupt, fmt::format("attribute 0x{:x} at byte {}: a resident one twice",
                                                attribute.type, attribute.offset));
  if (const auto end = end_vcn(stream.runs); attribute.lowest_vcn != end)
    return fail(ErrorCode::corrupt,
                fmt::format("attribute 0x{:x} at byte {}: starts at cluster {}, expected {}", attribute.type,
                            attribute.offset, attribute.lowest_vcn, end));
  auto appended = append_runs(attribute.value, attribute.lowest_vcn, attribute.cluster_count,
                              geometry.cluster_count, stream.runs);
  if (!appended)
    return fail(std::move(appended).error().with(
        fmt::format("attribute 0x{:x} at byte {}", attribute.type, attribute.offset)));
  // So that offsets in bytes never overflow.
  if (end_vcn(stream.runs) > (std::uint64_t{1} << 63) / geometry.cluster_bytes)
    return fail(ErrorCode::corrupt, fmt::format("attribute 0x{:x} at byte {}: beyond 2^63 bytes",
                                                attribute.type, attribute.offset));
  return {};
}

Result<void> check_complete(const StreamInfo& stream, const Geometry& geometry) {
  if (stream.resident) return {};
  if (const auto mapped = end_vcn(stream.runs) * geometry.cluster_bytes; mapped < stream.size_bytes)
    return fail(ErrorCode::corrupt, fmt::format("stream \"{}\": runs for {} bytes of {}", stream.name, mapped,
                                                stream.size_bytes));
  return {};
}

Result<void> read_stream(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                         std::uint64_t offset, MutableByteView out) {
  if (offset > stream.size_bytes || out.size() > stream.size_bytes - offset)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} of a stream of {}", out.size(), offset, stream.size_bytes));
  if (stream.encrypted) return fail(ErrorCode::unsupported, "the stream is encrypted by EFS");
  if (stream.resident) {
    if (stream.resident_data.size() != stream.size_bytes)
      return fail(ErrorCode::invalid_argument, "a resident stream without its bytes");
    std::copy_n(stream.resident_data.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  const auto valid =
      offset >= stream.valid_bytes ? 0 : std::min<std::uint64_t>(stream.valid_bytes - offset, out.size());
  zero(out.subspan(static_cast<std::size_t>(valid)));
  out = out.first(static_cast<std::size_t>(valid));
  if (!stream.compressed) return read_clusters(device, geometry, stream, offset, out);
  if (stream.unit_clusters == 0)
    return fail(ErrorCode::unsupported,
                "the stream is compressed by a method or in units that NTFS does not have");
  return read_units(device, geometry, stream, offset, out);
}

Result<Bytes> read_whole(const vdisk::BlockDevice& device, const Geometry& geometry, const StreamInfo& stream,
                         std::uint64_t limit_bytes) {
  if (stream.size_bytes > limit_bytes)
    return fail(ErrorCode::corrupt,
                fmt::format("{} bytes where at most {} can be", stream.size_bytes, limit_bytes));
  Bytes bytes(static_cast<std::size_t>(stream.size_bytes));
  RS_CHECK(read_stream(device, geometry, stream, 0, bytes));
  return bytes;
}

}  // namespace roamstead::ntfs
