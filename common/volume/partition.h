// MBR and GPT partition tables.
#pragma once

#include <string>
#include <vector>

#include "common/base/guid.h"
#include "common/vdisk/block_device.h"

namespace roamstead::volume {

struct Partition {
  std::uint32_t number = 0;  // from 1, in table order
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::string type;  // "mbr:07", or the GPT type GUID in lower case
  std::string name;  // GPT only
  Guid id = {};      // GPT only: by which Windows remembers its drive letter
};

enum class TableKind { none, mbr, gpt };
struct PartitionTable {
  TableKind kind = TableKind::none;
  std::vector<Partition> partitions;
  std::uint32_t signature = 0;  // MBR only: of the disk, with which Windows remembers drive letters
};

// Bounded and checked (CRCs, overlaps, ends beyond the disk). A disk without a table is `none` (a bare file
// system). With a damaged primary GPT the backup is used.
Result<PartitionTable> read_partition_table(const vdisk::BlockDevice& disk);

// What tells a disk and its partition from all others: GUIDs in a GPT, the signature in an MBR.
struct TableIds {
  Guid disk;
  Guid partition;
  std::uint32_t signature = 0;

  static TableIds random();
};

// Of a disk with one partition: where it begins, and how large it is.
inline constexpr std::uint64_t kSinglePartitionOffset = 1u << 20;
std::uint64_t single_partition_bytes(std::uint64_t disk_bytes, bool gpt, std::uint32_t sector_bytes = 512);

// Writes protective MBR and both GPTs with one basic-data partition from 1 MiB to the last whole MiB.
Result<Partition> create_single_partition(vdisk::BlockDevice& disk, const std::string& name,
                                          const TableIds& ids = TableIds::random());
// The same with an MBR, of up to 2^32 sectors, and a partition for NTFS.
Result<Partition> create_single_mbr_partition(vdisk::BlockDevice& disk, const TableIds& ids);

}  // namespace roamstead::volume
