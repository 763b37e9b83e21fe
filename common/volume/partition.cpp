#include "common/volume/partition.h"

#include <algorithm>
#include <optional>

#include "common/base/text.h"
#include "common/volume/crc32.h"

namespace roamstead::volume {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::size_t kMbrBytes = 512;
constexpr std::size_t kMbrEntries = 446;
constexpr std::size_t kMbrSignature = 440;
constexpr std::uint8_t kTypeNtfs = 0x07;
constexpr std::uint8_t kTypeProtective = 0xee;
constexpr std::size_t kMaxLogicalPartitions = 128;
constexpr std::string_view kGptSignature = "EFI PART";
constexpr std::uint32_t kGptHeaderBytes = 92;
constexpr std::uint32_t kGptEntryBytes = 128;
constexpr std::uint32_t kGptEntries = 128;
// What a table may take; Windows and all tools write 128 entries of 128 bytes.
constexpr std::uint64_t kMaxTableBytes = kMiB;
const Guid kBasicData = Guid::parse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").value();

tl::unexpected<Error> corrupt(const vdisk::BlockDevice& disk, std::uint64_t offset, const std::string& what) {
  return fail(ErrorCode::corrupt,
              disk.name() + ": at offset " + std::to_string(offset) + " of the disk: " + what);
}

Result<Bytes> read_bytes(const vdisk::BlockDevice& disk, std::uint64_t offset, std::size_t size) {
  Bytes content(size);
  RS_CHECK(disk.read(offset, content));
  return content;
}

Result<void> check_partitions(const vdisk::BlockDevice& disk, const std::vector<Partition>& partitions) {
  auto sorted = partitions;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.offset_bytes < b.offset_bytes; });
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    auto end = sorted[i].offset_bytes + sorted[i].size_bytes;
    if (end > disk.size_bytes())
      return corrupt(disk, sorted[i].offset_bytes,
                     "partition " + std::to_string(sorted[i].number) + " ends at " + std::to_string(end) +
                         ", beyond the disk's end at " + std::to_string(disk.size_bytes()));
    if (i + 1 < sorted.size() && sorted[i + 1].offset_bytes < end)
      return corrupt(disk, sorted[i + 1].offset_bytes,
                     "partitions " + std::to_string(sorted[i].number) + " and " +
                         std::to_string(sorted[i + 1].number) + " overlap");
  }
  return {};
}

// ---- MBR

struct MbrEntry {
  std::uint8_t status = 0;
  std::uint8_t type = 0;
  std::uint64_t first_sector = 0;
  std::uint64_t sectors = 0;
};

MbrEntry mbr_entry(ByteView mbr, std::size_t index) {
  auto entry = mbr.subspan(kMbrEntries + index * 16, 16);
  return {static_cast<std::uint8_t>(entry[0]), static_cast<std::uint8_t>(entry[4]),
          load_le<std::uint32_t>(entry, 8), load_le<std::uint32_t>(entry, 12)};
}

bool has_signature(ByteView mbr) { return mbr[510] == std::byte{0x55} && mbr[511] == std::byte{0xaa}; }
bool is_extended(std::uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

// A boot sector of a file system without a partition table ends in 55 AA as well. Its bytes at the place of
// the partition entries are code: a status other than 00 or 80, or a place beyond the disk, tells.
bool looks_like_table(ByteView mbr, std::uint64_t disk_sectors) {
  auto oem = as_text(mbr.subspan(3, 8));
  if (oem == "NTFS    " || oem == "-FVE-FS-" || oem == "EXFAT   ") return false;
  bool any = false;
  for (std::size_t i = 0; i < 4; ++i) {
    auto entry = mbr_entry(mbr, i);
    if (entry.status != 0 && entry.status != 0x80) return false;
    if (entry.type == 0) continue;
    any = true;
    if (entry.type != kTypeProtective && entry.first_sector >= disk_sectors) return false;
  }
  return any || all_zero(mbr.subspan(kMbrEntries, 64));
}

std::string mbr_type(std::uint8_t type) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  return std::string("mbr:") + kDigits[type >> 4] + kDigits[type & 15];
}

// Logical partitions: a list of small tables, each naming one partition and the next table.
Result<void> read_logical(const vdisk::BlockDevice& disk, const MbrEntry& extended,
                          std::vector<Partition>& out) {
  std::uint64_t sector_bytes = disk.sector_bytes();
  std::uint64_t next = 0;  // relative to the extended partition
  for (std::uint32_t number = 5; number < 5 + kMaxLogicalPartitions; ++number) {
    auto sector = extended.first_sector + next;
    if (sector >= disk.size_bytes() / sector_bytes)
      return corrupt(disk, sector * sector_bytes, "logical partition table beyond the disk's end");
    RS_TRY(auto table, read_bytes(disk, sector * sector_bytes, kMbrBytes));
    if (!has_signature(table))
      return corrupt(disk, sector * sector_bytes, "logical partition table without signature");
    auto entry = mbr_entry(table, 0);
    if (entry.type != 0 && entry.sectors != 0)
      out.push_back({number, (sector + entry.first_sector) * sector_bytes, entry.sectors * sector_bytes,
                     mbr_type(entry.type), ""});
    auto link = mbr_entry(table, 1);
    if (!is_extended(link.type) || link.sectors == 0) return {};
    if (link.first_sector <= next)  // forward only: so a list always ends
      return corrupt(disk, sector * sector_bytes, "logical partition tables that do not go forward");
    next = link.first_sector;
  }
  return corrupt(disk, extended.first_sector * sector_bytes, "more than 128 logical partitions");
}

Result<PartitionTable> read_mbr(const vdisk::BlockDevice& disk, ByteView mbr) {
  PartitionTable table{TableKind::mbr, {}, load_le<std::uint32_t>(mbr, kMbrSignature)};
  std::optional<MbrEntry> extended;
  for (std::uint32_t i = 0; i < 4; ++i) {
    auto entry = mbr_entry(mbr, i);
    if (entry.type == 0 || entry.sectors == 0) continue;
    if (is_extended(entry.type)) {
      if (!extended) extended = entry;
      continue;
    }
    table.partitions.push_back({i + 1, entry.first_sector * disk.sector_bytes(),
                                entry.sectors * disk.sector_bytes(), mbr_type(entry.type), ""});
  }
  if (extended) RS_CHECK(read_logical(disk, *extended, table.partitions));
  RS_CHECK(check_partitions(disk, table.partitions));
  return table;
}

// ---- GPT

struct GptHeader {
  std::uint64_t own_lba = 0;
  std::uint64_t backup_lba = 0;
  std::uint64_t first_usable = 0;
  std::uint64_t last_usable = 0;
  Guid disk_id;
  std::uint64_t entries_lba = 0;
  std::uint32_t entry_count = 0;
  std::uint32_t entry_bytes = 0;
  std::uint32_t entries_crc = 0;
};

Result<GptHeader> read_gpt_header(const vdisk::BlockDevice& disk, std::uint64_t lba) {
  std::uint64_t sector_bytes = disk.sector_bytes();
  auto where = lba * sector_bytes;
  RS_TRY(auto sector, read_bytes(disk, where, sector_bytes));
  if (as_text(ByteView(sector).first(8)) != kGptSignature)
    return corrupt(disk, where, "the signature EFI PART expected");
  auto header_bytes = load_le<std::uint32_t>(sector, 12);
  if (header_bytes < kGptHeaderBytes || header_bytes > sector_bytes)
    return corrupt(disk, where, "GPT header of " + std::to_string(header_bytes) + " bytes");
  auto stored = load_le<std::uint32_t>(sector, 16);
  store_le<std::uint32_t>(sector, 16, 0);
  if (crc32(ByteView(sector).first(header_bytes)) != stored)
    return corrupt(disk, where, "GPT header checksum is wrong");
  GptHeader header;
  header.own_lba = load_le<std::uint64_t>(sector, 24);
  header.backup_lba = load_le<std::uint64_t>(sector, 32);
  header.first_usable = load_le<std::uint64_t>(sector, 40);
  header.last_usable = load_le<std::uint64_t>(sector, 48);
  header.disk_id = Guid::from(ByteView(sector).subspan(56, 16));
  header.entries_lba = load_le<std::uint64_t>(sector, 72);
  header.entry_count = load_le<std::uint32_t>(sector, 80);
  header.entry_bytes = load_le<std::uint32_t>(sector, 84);
  header.entries_crc = load_le<std::uint32_t>(sector, 88);
  if (header.own_lba != lba)
    return corrupt(disk, where, "GPT header says it lies at sector " + std::to_string(header.own_lba));
  auto bytes = std::uint64_t{header.entry_count} * header.entry_bytes;
  if (header.entry_bytes < kGptEntryBytes || header.entry_bytes % 8 != 0 || bytes > kMaxTableBytes)
    return corrupt(disk, where,
                   std::to_string(header.entry_count) + " GPT entries of " +
                       std::to_string(header.entry_bytes) + " bytes");
  auto sectors = disk.size_bytes() / sector_bytes;
  if (header.entries_lba >= sectors || bytes > disk.size_bytes() - header.entries_lba * sector_bytes)
    return corrupt(disk, where, "GPT entries beyond the disk's end");
  return header;
}

Result<PartitionTable> read_gpt(const vdisk::BlockDevice& disk, std::uint64_t lba) {
  RS_TRY(auto header, read_gpt_header(disk, lba));
  std::uint64_t sector_bytes = disk.sector_bytes();
  auto where = header.entries_lba * sector_bytes;
  RS_TRY(auto entries, read_bytes(disk, where, std::size_t{header.entry_count} * header.entry_bytes));
  if (crc32(entries) != header.entries_crc) return corrupt(disk, where, "GPT entries checksum is wrong");
  PartitionTable table{TableKind::gpt, {}};
  auto sectors = disk.size_bytes() / sector_bytes;
  for (std::uint32_t i = 0; i < header.entry_count; ++i) {
    auto entry = ByteView(entries).subspan(std::size_t{i} * header.entry_bytes, kGptEntryBytes);
    auto type = Guid::from(entry.first(16));
    if (type.is_zero()) continue;
    auto first = load_le<std::uint64_t>(entry, 32);
    auto last = load_le<std::uint64_t>(entry, 40);
    if (first > last || last >= sectors)
      return corrupt(disk, where + std::uint64_t{i} * header.entry_bytes,
                     "partition " + std::to_string(i + 1) + " from sector " + std::to_string(first) + " to " +
                         std::to_string(last) + " of " + std::to_string(sectors));
    auto name = utf16le_to_wtf8(entry.subspan(56, 72));
    if (auto end = name.find('\0'); end != std::string::npos) name.resize(end);
    table.partitions.push_back({i + 1, first * sector_bytes, (last - first + 1) * sector_bytes,
                                type.to_string(), std::move(name), Guid::from(entry.subspan(16, 16))});
  }
  RS_CHECK(check_partitions(disk, table.partitions));
  return table;
}

// ---- writing

Bytes protective_mbr(std::uint64_t sectors) {
  Bytes mbr(kMbrBytes);
  mbr[kMbrEntries + 2] = std::byte{2};  // CHS 0/0/2
  mbr[kMbrEntries + 4] = static_cast<std::byte>(kTypeProtective);
  mbr[kMbrEntries + 5] = mbr[kMbrEntries + 6] = mbr[kMbrEntries + 7] = std::byte{0xff};
  store_le<std::uint32_t>(mbr, kMbrEntries + 8, 1);
  store_le<std::uint32_t>(mbr, kMbrEntries + 12,
                          static_cast<std::uint32_t>(std::min<std::uint64_t>(sectors - 1, 0xffffffff)));
  mbr[510] = std::byte{0x55};
  mbr[511] = std::byte{0xaa};
  return mbr;
}

Bytes encode_gpt_header(const GptHeader& header, std::uint64_t sector_bytes) {
  Bytes sector(sector_bytes);
  std::copy_n(as_bytes(kGptSignature).begin(), kGptSignature.size(), sector.begin());
  store_le<std::uint32_t>(sector, 8, 0x00010000);
  store_le<std::uint32_t>(sector, 12, kGptHeaderBytes);
  store_le<std::uint64_t>(sector, 24, header.own_lba);
  store_le<std::uint64_t>(sector, 32, header.backup_lba);
  store_le<std::uint64_t>(sector, 40, header.first_usable);
  store_le<std::uint64_t>(sector, 48, header.last_usable);
  std::copy(header.disk_id.bytes.begin(), header.disk_id.bytes.end(), sector.begin() + 56);
  store_le<std::uint64_t>(sector, 72, header.entries_lba);
  store_le<std::uint32_t>(sector, 80, header.entry_count);
  store_le<std::uint32_t>(sector, 84, header.entry_bytes);
  store_le<std::uint32_t>(sector, 88, header.entries_crc);
  store_le<std::uint32_t>(sector, 16, crc32(ByteView(sector).first(kGptHeaderBytes)));
  return sector;
}

}  // namespace

Result<PartitionTable> read_partition_table(const vdisk::BlockDevice& disk) {
  std::uint64_t sector_bytes = disk.sector_bytes();
  auto sectors = disk.size_bytes() / sector_bytes;
  if (disk.size_bytes() < kMbrBytes || sectors < 3) return PartitionTable{};
  RS_TRY(auto mbr, read_bytes(disk, 0, kMbrBytes));
  bool table = has_signature(mbr) && looks_like_table(mbr, sectors);
  bool protective = false;
  for (std::size_t i = 0; table && i < 4; ++i)
    protective = protective || mbr_entry(mbr, i).type == kTypeProtective;
  if (table && !protective) return read_mbr(disk, mbr);
  auto primary = read_gpt(disk, 1);
  if (primary) return primary;
  // Without the protective MBR a whole backup alone still is a table; nothing at all is none.
  auto backup = read_gpt(disk, sectors - 1);
  if (backup) return backup;
  if (protective) return fail(std::move(primary).error().with("neither GPT is valid"));
  return PartitionTable{};
}

std::uint64_t single_partition_bytes(std::uint64_t disk_bytes, bool gpt, std::uint32_t sector_bytes) {
  const auto backup = gpt ? std::uint64_t{kGptEntries} * kGptEntryBytes + sector_bytes : 0;
  const auto end = (disk_bytes / sector_bytes * sector_bytes - std::min(backup, disk_bytes)) / kMiB * kMiB;
  return end > kSinglePartitionOffset ? end - kSinglePartitionOffset : 0;
}

TableIds TableIds::random() {
  TableIds ids{Guid::random(), Guid::random(), 0};
  while (ids.signature == 0) {  // none, to Windows
    Bytes bytes(4);
    fill_random(bytes);
    ids.signature = load_le<std::uint32_t>(bytes, 0);
  }
  return ids;
}

Result<Partition> create_single_mbr_partition(vdisk::BlockDevice& disk, const TableIds& ids) {
  const std::uint64_t sector_bytes = disk.sector_bytes();
  const auto end = kMiB + single_partition_bytes(disk.size_bytes(), false, disk.sector_bytes());
  if (end < 3 * kMiB)
    return fail(ErrorCode::invalid_argument, disk.name() + ": too small for a partition, 3 MiB needed");
  if (end / sector_bytes > 0xffffffff)
    return fail(ErrorCode::invalid_argument, disk.name() + ": too large for an MBR; a GPT is needed");
  Partition partition{1, kMiB, end - kMiB, mbr_type(kTypeNtfs), ""};
  Bytes mbr(kMbrBytes);
  store_le<std::uint32_t>(mbr, kMbrSignature, ids.signature);
  // Its geometry is in sectors alone: the old one says "beyond what I can tell".
  for (const std::size_t at : {1, 5}) {
    mbr[kMbrEntries + at] = std::byte{0xfe};
    mbr[kMbrEntries + at + 1] = mbr[kMbrEntries + at + 2] = std::byte{0xff};
  }
  mbr[kMbrEntries + 4] = std::byte{kTypeNtfs};
  store_le<std::uint32_t>(mbr, kMbrEntries + 8, static_cast<std::uint32_t>(kMiB / sector_bytes));
  store_le<std::uint32_t>(mbr, kMbrEntries + 12,
                          static_cast<std::uint32_t>(partition.size_bytes / sector_bytes));
  mbr[510] = std::byte{0x55};
  mbr[511] = std::byte{0xaa};
  RS_CHECK(disk.write(0, mbr));
  RS_CHECK(disk.flush());
  return partition;
}

Result<Partition> create_single_partition(vdisk::BlockDevice& disk, const std::string& name,
                                          const TableIds& ids) {
  std::uint64_t sector_bytes = disk.sector_bytes();
  auto sectors = disk.size_bytes() / sector_bytes;
  auto units = to_utf16(name);
  if (!units || units->size() > 36)
    return fail(ErrorCode::invalid_argument, "a partition's name has at most 36 UTF-16 units");
  if (disk.size_bytes() < 3 * kMiB)
    return fail(ErrorCode::invalid_argument, disk.name() + ": too small for a partition, 3 MiB needed");
  std::uint64_t entries_bytes = kGptEntries * kGptEntryBytes;
  auto entries_sectors = (entries_bytes + sector_bytes - 1) / sector_bytes;
  GptHeader primary{1,        sectors - 1, 2 + entries_sectors, sectors - 2 - entries_sectors,
                    ids.disk, 2,           kGptEntries,         kGptEntryBytes,
                    0};
  Partition partition{1, kMiB, 0, kBasicData.to_string(), name, ids.partition};
  partition.size_bytes = single_partition_bytes(disk.size_bytes(), true, disk.sector_bytes());
  const auto end = partition.offset_bytes + partition.size_bytes;

  Bytes entries(entries_sectors * sector_bytes);
  std::copy(kBasicData.bytes.begin(), kBasicData.bytes.end(), entries.begin());
  std::copy(ids.partition.bytes.begin(), ids.partition.bytes.end(), entries.begin() + 16);
  store_le<std::uint64_t>(entries, 32, kMiB / sector_bytes);
  store_le<std::uint64_t>(entries, 40, end / sector_bytes - 1);
  std::memcpy(entries.data() + 56, units->data(), units->size() * 2);
  primary.entries_crc = crc32(ByteView(entries).first(entries_bytes));

  auto backup = primary;
  std::swap(backup.own_lba, backup.backup_lba);
  backup.entries_lba = sectors - 1 - entries_sectors;
  RS_CHECK(disk.write(backup.entries_lba * sector_bytes, entries));
  RS_CHECK(disk.write(backup.own_lba * sector_bytes, encode_gpt_header(backup, sector_bytes)));
  RS_CHECK(disk.write(primary.entries_lba * sector_bytes, entries));
  RS_CHECK(disk.write(primary.own_lba * sector_bytes, encode_gpt_header(primary, sector_bytes)));
  RS_CHECK(disk.write(0, protective_mbr(sectors)));
  RS_CHECK(disk.flush());
  return partition;
}

}  // namespace roamstead::volume
