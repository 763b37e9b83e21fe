// A VHD file as a layer: block table in memory, sector bitmaps as they are needed, payload in the file.
//
// Order of writes (docs/format-vhd-use.md): payload goes to the file at once, block table and bitmap changes
// stay in memory until flush(), which makes them durable only after everything they refer to. New blocks lie
// behind the end in use; the footer follows them, and its copy at the file's start counts whenever the one at
// the end is not there.
#pragma once

#include <atomic>
#include <set>
#include <shared_mutex>
#include <unordered_map>

#include "common/vdisk/vhd_create.h"

namespace roamstead::vdisk::vhd {

// Where blocks are: the block table as the file has it, and what follows from the header.
struct BlockTable {
  std::uint64_t offset = 0;  // of the table in the file
  std::uint32_t block_bytes = 0;
  std::uint32_t bitmap_bytes = 0;  // before each block's data; whole sectors
  std::uint64_t virtual_bytes = 0;
  std::vector<std::uint32_t> sectors;  // where each block's bitmap begins; kNoBlock: absent
  std::vector<bool> outside;           // blocks that do not lie within the file
  std::uint64_t end_of_use = 0;        // beyond the last byte that anything but a footer takes; whole sectors

  static std::uint32_t bitmap_size(std::uint32_t block_bytes);
  bool present(std::uint64_t block) const { return sectors[block] != kNoBlock; }
  std::uint64_t bitmap_offset(std::uint64_t block) const {
    return std::uint64_t{sectors[block]} * kSectorBytes;
  }
  std::uint64_t data_offset(std::uint64_t block) const { return bitmap_offset(block) + bitmap_bytes; }
  std::uint64_t used_bytes(std::uint64_t block) const {
    return std::min<std::uint64_t>(block_bytes, virtual_bytes - block * block_bytes);
  }
  // What each present block, the table, the header and the locators take of the file, in order of offset.
  std::vector<ByteRange> claims(const Footer& footer, const std::vector<Locator>& locators) const;

  // Refuses what overlaps. A block beyond the file's end is marked in `outside`: reading it fails.
  static Result<BlockTable> read(const os::File& file, const FoundFooter& found, const Header& header,
                                 const std::vector<Locator>& locators, std::uint64_t virtual_bytes);
};

struct FileOptions {
  bool ignore_checksum = false;  // for reading only
  bool fresh = false;  // made by us this moment, its id is known to nobody: writing need not renew it
};

class VhdLayer final : public ImageLayer {
 public:
  static Result<std::unique_ptr<VhdLayer>> open(os::FileSystem& files, const std::string& path, Access access,
                                                const FileOptions& options = {});

  LayerInfo info() const override;
  std::uint64_t virtual_bytes() const override { return virtual_bytes_; }
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
  Result<std::unique_ptr<ImageLayer>> create_twin(os::FileSystem& files,
                                                  const std::string& path) const override;

 private:
  // A block's sector bitmap: in each word the first sector is the highest bit; set: the sector is here.
  struct Bitmap {
    std::vector<std::uint64_t> words;
    bool dirty = false;  // not to be dropped: the file does not have all of it
  };
  enum class Known : std::uint8_t { no, full, in_map };

  VhdLayer() = default;
  NewDisk like_this() const;
  bool is_fixed() const { return kind_ == LayerKind::fixed; }
  std::uint64_t block_sectors() const { return table_.block_bytes / kSectorBytes; }
  Result<void> load_bitmap(std::uint64_t block) const;
  void drop_bitmaps() const;
  Piece piece_of(std::uint64_t block, std::uint64_t in_block, std::uint64_t length) const;
  bool complete(std::uint64_t block, const Bitmap& bitmap) const;
  Result<void> outside_error(std::uint64_t block) const;

  Result<void> write_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  Result<void> allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data);
  void mark(Bitmap& bitmap, std::uint64_t in_block, std::uint64_t length);
  Result<void> write_bitmap(std::uint64_t block);
  Result<void> write_entries(const std::set<std::uint64_t>& blocks);
  Result<void> sync();
  Result<void> write_footers(const Footer& footer);
  Result<void> write_end_footer(std::uint64_t offset);
  Result<void> move_header(Header header, const std::vector<Locator>& locators);
  std::uint64_t free_place(std::uint64_t length) const;

  std::unique_ptr<os::File> file_;
  std::unique_ptr<os::File> writer_;  // the same file, for writing; null while the layer is read-only
  LayerKind kind_ = LayerKind::fixed;
  std::uint64_t virtual_bytes_ = 0;
  std::optional<std::uint64_t> first_outside_;  // a block beyond the end of the file

  mutable std::shared_mutex maps_mutex_;  // everything down to `bitmaps_`
  std::string path_;
  std::string parent_path_;
  Footer footer_;
  std::uint64_t footer_offset_ = 0;
  Header header_;
  std::vector<Locator> locators_;
  BlockTable table_;
  mutable std::vector<Known> known_;
  mutable std::unordered_map<std::uint64_t, Bitmap> bitmaps_;

  // Of the writing thread.
  bool keep_id_ = false;
  bool writing_ = false;   // id renewed, the file's end in order
  bool unsynced_ = false;  // something was written since the last flush
  std::atomic<bool> broken_ = false;
  std::set<std::uint64_t> new_blocks_;
  std::set<std::uint64_t> dirty_bitmaps_;  // of blocks that were there before
};

}  // namespace roamstead::vdisk::vhd
