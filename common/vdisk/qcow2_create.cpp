#include "common/vdisk/qcow2_create.h"

#include <algorithm>
#include <bit>

namespace roamstead::vdisk::qcow2 {
namespace {

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// Clusters of a refcount table that need not grow when the whole disk is written.
std::uint64_t table_clusters_for(const Header& header, std::uint64_t l1_clusters) {
  auto cluster = header.cluster_bytes();
  auto data = ceil_div(header.virtual_bytes, cluster);
  auto clusters = data + header.l1_entries + l1_clusters;
  clusters += ceil_div(clusters, header.refcounts_per_block() - 1) + 16;
  return ceil_div(ceil_div(clusters, header.refcounts_per_block()), header.l2_entries());
}

}  // namespace

// Header, refcount table, the refcount blocks of what is there, L1 table.
Result<void> create_file(os::FileSystem& files, const std::string& path, const NewDisk& disk) {
  Header header;
  header.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(disk.cluster_bytes));
  header.virtual_bytes = disk.virtual_bytes;
  auto cluster = header.cluster_bytes();
  auto entries = l1_entries_for(disk.virtual_bytes, header.cluster_bits);
  auto l1_clusters = ceil_div(entries * 8, cluster);
  if (entries * 8 > kMaxL1Bytes)
    return fail(ErrorCode::invalid_argument, path + ": a disk of " + std::to_string(disk.virtual_bytes) +
                                                 " bytes needs larger clusters than " +
                                                 std::to_string(cluster) + " bytes");
  header.l1_entries = static_cast<std::uint32_t>(entries);
  auto table_clusters = std::min(table_clusters_for(header, l1_clusters), kMaxRefcountTableBytes / cluster);
  table_clusters = std::max<std::uint64_t>(table_clusters, 1);
  std::uint64_t blocks = 1;
  while (1 + table_clusters + blocks + l1_clusters > blocks * header.refcounts_per_block()) ++blocks;
  header.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  header.refcount_table_offset = cluster;
  header.l1_offset = (1 + table_clusters + blocks) * cluster;
  header.set_id(disk.id.value_or(Guid::random()));
  header.backing_name = disk.parent_path;
  if (disk.parent_format && !disk.parent_path.empty())
    header.set_text(kBackingFormat, std::string(format_name(*disk.parent_format)));
  if (!disk.parent_path.empty())
    header.backing_place = {header.encode_extensions().size(), disk.parent_path.size()};
  if (header.backing_place.end() > cluster || disk.parent_path.size() > kMaxBackingNameBytes)
    return fail(ErrorCode::invalid_argument,
                path + ": the parent's path is too long for the file's header: " + disk.parent_path);
  auto start = header.encode_extensions();
  auto name = as_bytes(disk.parent_path);
  start.insert(start.end(), name.begin(), name.end());

  auto used = 1 + table_clusters + blocks + l1_clusters;
  Bytes table(blocks * 8);
  Bytes counts(blocks * cluster);
  for (std::uint64_t i = 0; i < blocks; ++i)
    store_be<std::uint64_t>(table, i * 8, (1 + table_clusters + i) * cluster);
  for (std::uint64_t i = 0; i < used; ++i) store_be<std::uint16_t>(counts, i * 2, 1);

  RS_TRY(auto file, files.open(path, os::OpenMode::create_new));
  RS_CHECK(file->truncate(used * cluster));
  RS_CHECK(file->write_at((1 + table_clusters) * cluster, counts));
  RS_CHECK(file->write_at(header.refcount_table_offset, table));
  RS_CHECK(file->write_at(0, start));
  return file->sync();
}

}  // namespace roamstead::vdisk::qcow2
