// A VHDX file as a layer: block table and sector bitmaps in memory, payload in the file.
//
// Order of writes (docs/format-vhdx-use.md): payload goes to the file at once, block table and bitmap changes
// stay in memory until flush(), which makes them durable only after everything they refer to.
#pragma once

#include <atomic>
#include <set>
#include <shared_mutex>
#include <unordered_map>

#include "common/vdisk/layer.h"
#include "common/vdisk/vhdx_metadata.h"

namespace roamstead::vdisk::vhdx {

// The block table as the file has it: one number for each entry.
struct BlockTable {
  enum State : std::uint64_t {
    not_present = 0,
    undefined = 1,
    zero = 2,
    unmapped = 3,
    fully = 6,
    partially = 7
  };

  std::uint32_t block_bytes = 0;
  std::uint64_t chunk_ratio = 0;  // payload blocks for each bitmap block
  std::uint64_t payload_blocks = 0;
  bool has_parent = false;
  std::uint64_t end_of_file_use = 0;  // beyond the last byte of the file that anything refers to; whole MiB
  std::vector<std::uint64_t> entries;

  std::uint64_t payload_index(std::uint64_t block) const { return block + block / chunk_ratio; }
  std::uint64_t bitmap_index(std::uint64_t chunk) const { return chunk * (chunk_ratio + 1) + chunk_ratio; }
  static State state(std::uint64_t entry) { return static_cast<State>(entry & 7); }
  static std::uint64_t offset(std::uint64_t entry) { return entry & ~(kMiB - 1); }

  // The geometry alone, all entries absent.
  static BlockTable empty(const Metadata& metadata);
  // Checks every entry: known state, within the file, nothing overlapping anything.
  static Result<BlockTable> read(const os::File& file, const Metadata& metadata, const Regions& regions);
};

// What the file says of itself; its tables and its log are not read.
Result<LayerDescription> describe(const os::File& file, const std::string& path);

ParentReference parent_reference(const std::string& child_path, const ParentLocator& locator);
Lineage to_lineage(const ParentLocator& locator);
// Other paths than the relative one stay while that stays.
Result<void> apply_lineage(const Lineage& lineage, ParentLocator& locator);

class VhdxLayer final : public ImageLayer {
 public:
  // `fresh`: the file was made by us this moment, its ids are known to nobody: writing need not renew them.
  static Result<std::unique_ptr<VhdxLayer>> open(os::FileSystem& files, const std::string& path,
                                                 Access access, bool fresh = false);

  LayerInfo info() const override;
  std::uint64_t virtual_bytes() const override { return metadata_.virtual_bytes; }
  Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const override;
  Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const override;
  Result<RangeSet> extents() const override;
  std::uint32_t write_unit() const override { return kSectorBytes; }
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> flush() override;

  std::optional<ParentReference> parent() const override;
  Lineage lineage() const override;
  Result<void> set_lineage(const Lineage& lineage) override;
  Result<void> set_id(const Guid& id) override;
  Result<void> make_writable(os::FileSystem& files, bool keep_id) override;
  void make_read_only() override { writer_.reset(); }
  Result<void> begin_writing() override;
  void renamed(const std::string& path) override;
  void reparented(const std::string& parent_path) override;
  Result<std::unique_ptr<ImageLayer>> create_child(os::FileSystem& files, const std::string& path,
                                                   const std::string& parent_path) const override;

  const Metadata& metadata() const { return metadata_; }
  Result<void> set_locator(const ParentLocator& locator);

 private:
  struct Slice {  // a block's part of the sector bitmap; bit 1: the sector is in this file
    std::vector<std::uint64_t> words;
  };

  VhdxLayer() = default;
  std::uint64_t slice_bytes() const { return table_.block_bytes / kSectorBytes / 8; }
  std::uint64_t slice_offset(std::uint64_t block) const;
  Result<const Slice*> slice_of(std::uint64_t block, std::shared_lock<std::shared_mutex>& lock) const;
  Result<void> load_slice(std::uint64_t block) const;
  Piece piece_of(const Slice& slice, std::uint64_t entry, std::uint64_t in_block, std::uint64_t length) const;
  bool complete(std::uint64_t block, const Slice& slice) const;

  Result<void> write_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  Result<void> allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  Result<void> allocate_bitmap(std::uint64_t chunk);
  Result<void> grow(std::uint64_t length);
  void shrink_back(std::uint64_t length);
  void mark(Slice& slice, std::uint64_t in_block, std::uint64_t length);
  Result<void> sync();
  Result<void> write_slice(std::uint64_t block, const Slice& slice);
  Result<void> write_entries(const std::set<std::uint64_t>& indexes);
  Result<void> write_maps();

  std::unique_ptr<os::File> file_;
  std::unique_ptr<os::File> writer_;  // the same file, for writing; null while the layer is read-only
  CurrentHeader header_;
  Regions regions_;
  Metadata metadata_;

  mutable std::shared_mutex maps_mutex_;  // path_, parent_path_, header ids, table_.entries, slices_
  std::string path_;
  std::string parent_path_;
  BlockTable table_;
  mutable std::unordered_map<std::uint64_t, Slice> slices_;

  // Of the writing thread.
  bool keep_id_ = false;
  bool writing_ = false;              // ids renewed, the file's unused end cut off
  bool unsynced_ = false;             // something was written since the last flush
  std::atomic<bool> broken_ = false;  // a flush failed: what is in the file is unknown
  std::set<std::uint64_t> new_blocks_;
  std::set<std::uint64_t> new_bitmaps_;   // chunks
  std::set<std::uint64_t> dirty_slices_;  // blocks that were partially present before
};

}  // namespace roamstead::vdisk::vhdx
