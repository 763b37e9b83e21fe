#include "common/ntfs/boot_sector.h"

#include <fmt/format.h>

#include <bit>

namespace roamstead::ntfs {
namespace {

constexpr std::uint32_t kMaxClusterBytes = 2u << 20;  // what Windows formats at most
constexpr std::uint32_t kMaxRecordBytes = 64u << 10;

// Sectors per cluster: 1 to 128 as such; above that minus the power of two (0xF4: 4096 sectors).
Result<std::uint32_t> cluster_size(std::uint8_t field, std::uint32_t sector_bytes) {
  std::uint64_t sectors = field;
  if (field > 0x80) sectors = field >= 0xF0 ? std::uint64_t{1} << (0x100 - field) : 0;
  if (!std::has_single_bit(sectors) || sectors * sector_bytes > kMaxClusterBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("byte 13: 0x{:02x} sectors of {} bytes per cluster", field, sector_bytes));
  return static_cast<std::uint32_t>(sectors * sector_bytes);
}

// A count of clusters, or when negative minus the power of two in bytes (0xF6: 1024).
Result<std::uint32_t> structure_size(std::uint8_t field, std::uint32_t cluster_bytes, unsigned at) {
  std::uint64_t bytes = 0;
  if (field < 0x80) bytes = std::uint64_t{field} * cluster_bytes;
  if (field >= 0xE0) bytes = std::uint64_t{1} << (0x100 - field);
  if (!std::has_single_bit(bytes) || bytes < 512 || bytes > kMaxRecordBytes)
    return fail(
        ErrorCode::corrupt,
        fmt::format("byte {}: 0x{:02x} is not the size of a record or index block of 512 bytes to {} KiB", at,
                    field, kMaxRecordBytes >> 10));
  return static_cast<std::uint32_t>(bytes);
}

Result<void> check_signature(ByteView sector) {
  auto name = as_text(sector.subspan(3, 8));
  if (name == "NTFS    ") return {};
  if (name == "-FVE-FS-")
    return fail(
        ErrorCode::unsupported,
        "the volume is encrypted by BitLocker (-FVE-FS-): decrypt it in Windows first (manage-bde -off)");
  if (name.substr(0, 4) == "ReFS") return fail(ErrorCode::unsupported, "the volume is ReFS, not NTFS");
  if (name == "EXFAT   ") return fail(ErrorCode::unsupported, "the volume is exFAT, not NTFS");
  return fail(ErrorCode::corrupt, "byte 3: no NTFS signature");
}

Result<void> check_places(const Geometry& geometry) {
  if (geometry.cluster_count == 0) return fail(ErrorCode::corrupt, "byte 40: not even one cluster");
  if (geometry.mft_lcn == 0 || geometry.mft_lcn >= geometry.cluster_count)
    return fail(ErrorCode::corrupt,
                fmt::format("byte 48: $MFT at cluster {} of {}", geometry.mft_lcn, geometry.cluster_count));
  if (geometry.mirror_lcn >= geometry.cluster_count)
    return fail(ErrorCode::corrupt, fmt::format("byte 56: $MFTMirr at cluster {} of {}", geometry.mirror_lcn,
                                                geometry.cluster_count));
  return {};
}

}  // namespace

Result<Geometry> parse_boot_sector(ByteView sector, std::uint64_t device_bytes) {
  if (sector.size() < kBootSectorBytes)
    return fail(ErrorCode::corrupt, fmt::format("{} bytes are too few for a boot sector", sector.size()));
  RS_CHECK(check_signature(sector));
  Geometry geometry;
  geometry.sector_bytes = load_le<std::uint16_t>(sector, 11);
  if (!std::has_single_bit(geometry.sector_bytes) || geometry.sector_bytes < 512 ||
      geometry.sector_bytes > 4096)
    return fail(ErrorCode::corrupt, fmt::format("byte 11: sectors of {} bytes", geometry.sector_bytes));
  RS_TRY(geometry.cluster_bytes, cluster_size(load_le<std::uint8_t>(sector, 13), geometry.sector_bytes));
  RS_TRY(geometry.record_bytes,
         structure_size(load_le<std::uint8_t>(sector, 64), geometry.cluster_bytes, 64));
  RS_TRY(geometry.index_bytes, structure_size(load_le<std::uint8_t>(sector, 68), geometry.cluster_bytes, 68));

  const auto sectors = load_le<std::uint64_t>(sector, 40);
  const auto device_sectors = device_bytes / geometry.sector_bytes;
  if (sectors == 0 || sectors > device_sectors)
    return fail(ErrorCode::corrupt,
                fmt::format("byte 40: a volume of {} sectors on a device of {}: truncated?", sectors,
                            device_sectors));
  geometry.volume_bytes = sectors * geometry.sector_bytes;
  geometry.cluster_count = geometry.volume_bytes / geometry.cluster_bytes;
  geometry.mft_lcn = load_le<std::uint64_t>(sector, 48);
  geometry.mirror_lcn = load_le<std::uint64_t>(sector, 56);
  RS_CHECK(check_places(geometry));
  return geometry;
}

}  // namespace roamstead::ntfs
