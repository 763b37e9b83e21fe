// A VHDX file as a layer: block table and sector bitmaps in memory, payload in the file.
//
// Order of writes (docs/format-vhdx-use.md): payload goes to the file at once, block table and bitmap changes
// stay in memory until flush(), which writes them to the log once everything they refer to is durable, and
// from there in place.
//
// Lookups take no lock. Entries of the block table and words of a bitmap are read and written atomically, and
// what an entry leads to is there before the entry: a block's bitmap slice before its state, a sector's bytes
// before its bit.
#pragma once

#include <atomic>
#include <optional>
#include <set>
#include <shared_mutex>

#include "common/vdisk/layer.h"
#include "common/vdisk/vhdx_log.h"
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
  bool is_bitmap(std::uint64_t index) const { return index % (chunk_ratio + 1) == chunk_ratio; }
  // What is wrong with an entry by itself ("has the state 4, …"); empty when nothing. `claim` is the part of
  // the file it leads to, empty when none.
  std::string problem(std::uint64_t index, std::uint64_t file_bytes, ByteRange& claim) const;
  static State state(std::uint64_t entry) { return static_cast<State>(entry & 7); }
  static std::uint64_t offset(std::uint64_t entry) { return entry & ~(kMiB - 1); }

  // The geometry alone, all entries absent.
  static BlockTable empty(const Metadata& metadata);
  // The entries as they are in the file, not checked.
  static Result<BlockTable> read_entries(const os::File& file, const Metadata& metadata,
                                         const Regions& regions);
  // Checks every entry: known state, within the file, nothing overlapping anything.
  static Result<BlockTable> read(const os::File& file, const Metadata& metadata, const Regions& regions);
};

// A block's part of the sector bitmap; bit 1: the sector is in this file.
struct Slice {
  std::vector<std::uint64_t> words;
};

// The slices in memory, never dropped. find() may run at any time, put() by one thread at a time.
class SliceTable {
 public:
  SliceTable() = default;
  SliceTable(std::uint64_t blocks, std::uint64_t chunk_ratio);
  SliceTable(SliceTable&& other) noexcept = default;
  SliceTable& operator=(SliceTable&& other) noexcept = default;
  ~SliceTable();

  Slice* find(std::uint64_t block) const;  // null when it is not there
  Slice& put(std::uint64_t block, std::unique_ptr<Slice> slice);

 private:
  struct Chunk {
    explicit Chunk(std::uint64_t count) : slices(count) {}
    ~Chunk();
    std::vector<std::atomic<Slice*>> slices;
  };
  std::uint64_t chunk_ratio_ = 1;
  std::vector<std::atomic<Chunk*>> chunks_;
};

// What the file says of itself, its log replayed in memory; its block table is not read.
Result<LayerDescription> describe(const os::File& file, const std::string& path);

ParentReference parent_reference(const std::string& child_path, const Metadata& metadata);
Lineage to_lineage(const ParentLocator& locator);
// Other paths than the relative one stay while that stays.
Result<void> apply_lineage(const Lineage& lineage, ParentLocator& locator);

class VhdxLayer final : public ImageLayer {
 public:
  ~VhdxLayer() override;
  // A log that holds changes is replayed: in memory for reading, onto the file for writing.
  // `fresh`: the file was made by us this moment, its ids are known to nobody: writing need not renew them.
  static Result<std::unique_ptr<VhdxLayer>> open(os::FileSystem& files, const std::string& path,
                                                 Access access, bool fresh = false);

  LayerInfo info() const override;
  std::uint64_t virtual_bytes() const override { return metadata_.virtual_bytes; }
  Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const override;
  Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const override;
  Result<RangeSet> extents() const override;
  std::uint32_t write_unit() const override { return metadata_.logical_sector_bytes; }
  std::uint32_t sector_bytes() const override { return metadata_.logical_sector_bytes; }
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> flush() override;

  std::optional<ParentReference> parent() const override;
  Lineage lineage() const override;
  Result<void> set_lineage(const Lineage& lineage) override;
  Result<void> set_id(const Guid& id) override;
  Result<void> make_writable(os::FileSystem& files, bool keep_id) override;
  void make_read_only() override;
  Result<void> begin_writing() override;
  Result<void> end_writing() override;
  void renamed(const std::string& path) override;
  void reparented(const std::string& parent_path) override;
  Result<std::unique_ptr<ImageLayer>> create_child(os::FileSystem& files, const std::string& path,
                                                   const std::string& parent_path) const override;
  Result<std::unique_ptr<ImageLayer>> create_twin(os::FileSystem& files,
                                                  const std::string& path) const override;

  const Metadata& metadata() const { return metadata_; }
  Result<void> set_locator(const ParentLocator& locator);

 private:
  VhdxLayer() = default;
  std::uint64_t slice_bytes() const { return table_.block_bytes / metadata_.logical_sector_bytes / 8; }
  std::uint64_t slice_offset(std::uint64_t block) const;
  std::uint64_t used_bytes(
      std::uint64_t block) const;  // of the block; the last one may reach beyond the disk
  std::uint64_t entry(std::uint64_t index) const;
  void set_entry(std::uint64_t index, std::uint64_t value);
  Result<Slice*> slice_of(std::uint64_t block) const;
  Piece piece_of(const Slice& slice, std::uint64_t entry, std::uint64_t in_block, std::uint64_t length) const;
  bool complete(std::uint64_t block, const Slice& slice) const;

  Result<void> write_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  Result<void> allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  Result<void> allocate_bitmap(std::uint64_t chunk);
  Result<void> grow(std::uint64_t length);
  void shrink_back(std::uint64_t length);
  void mark(Slice& slice, std::uint64_t in_block, std::uint64_t length) const;
  Result<void> write_maps();

  // vhdx_layer_log.cpp
  Result<void> sync();
  Result<void> change_header(const Header& next);
  Result<void> settle_log();
  Result<void> make_room_for_log(Header& next);
  Result<void> write_protected(std::span<const LogPage> pages);
  Result<void> append_to_log(std::span<const LogPage> pages);
  Result<void> close_log();

  std::unique_ptr<os::File> file_;
  std::unique_ptr<ReplayedFile> replayed_;  // when a log was found
  const os::File* reader_ = nullptr;        // one of the two
  std::unique_ptr<os::File> writer_;        // the same file, for writing; null while the layer is read-only
  CurrentHeader header_;
  Regions regions_;
  Metadata metadata_;
  unsigned sector_shift_ = 9;
  BlockTable table_;

  mutable std::shared_mutex maps_mutex_;  // path_, parent_path_, header ids, locator; who puts slices
  std::string path_;
  std::string parent_path_;
  mutable SliceTable slices_;

  // Of the writing thread.
  bool keep_id_ = false;
  bool writing_ = false;              // ids renewed, the file's unused end cut off
  bool unsynced_ = false;             // something was written since the last flush
  std::atomic<bool> broken_ = false;  // a flush failed: what is in the file is unknown
  std::optional<LogWriter> log_;      // while the header names our log
  std::set<std::uint64_t> new_blocks_;
  std::set<std::uint64_t> new_bitmaps_;   // chunks
  std::set<std::uint64_t> dirty_slices_;  // blocks that were partially present before
};

}  // namespace roamstead::vdisk::vhdx
