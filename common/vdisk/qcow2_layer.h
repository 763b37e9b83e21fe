// A qcow2 file as a layer: L1 table in memory, L2 tables as they are needed.
//
// Order of writes (docs/format-qcow2-use.md): data goes to the file at once, into clusters that nothing
// refers to yet, or over the old data of a cluster of our own. Tables stay in memory until flush(): refcounts
// first, then what makes clusters reachable. A crash leaves at worst clusters that are counted and not used.
#pragma once

#include <atomic>
#include <map>
#include <set>
#include <shared_mutex>
#include <unordered_set>

#include "common/vdisk/qcow2_refcounts.h"

namespace roamstead::vdisk::qcow2 {

class Qcow2Layer final : public ImageLayer {
 public:
  static Result<std::unique_ptr<Qcow2Layer>> open(os::FileSystem& files, const std::string& path,
                                                  Access access);

  LayerInfo info() const override;
  std::uint64_t virtual_bytes() const override { return virtual_bytes_; }
  Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const override;
  Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const override;
  Result<RangeSet> extents() const override;
  std::uint32_t write_unit() const override { return cluster_bytes_; }
  bool rewrites_any_bytes() const override { return true; }
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
  struct L2Table {
    std::vector<std::uint64_t> entries;
  };
  // Entries of an L2 table that the file does not have yet; all of them where the table is new. Such a table
  // stays in memory, also while there are none.
  struct Dirty {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    bool is_new = false;
  };
  struct Run {
    Piece piece;
    bool own = true;  // for `here`: counted once, so it may be written in place
  };

  Qcow2Layer() = default;
  Result<void> read_l1();
  Result<void> load_l2(std::uint64_t index) const;
  void drop_l2() const;
  Result<Run> find(std::uint64_t offset, std::uint64_t length) const;
  Result<Run> run_in(const L2Table& table, std::uint64_t offset, std::uint64_t length) const;
  std::string problem(std::uint64_t entry) const;
  Piece::Source source(std::uint64_t entry) const;
  std::uint64_t offset_of(std::uint64_t entry) const { return entry & kOffsetMask; }
  std::uint64_t l1_index(std::uint64_t offset) const { return offset / l2_covers_; }
  tl::unexpected<Error> bad(std::uint64_t offset, const std::string& what,
                            ErrorCode code = ErrorCode::corrupt) const;

  // qcow2_layer_write.cpp
  Result<void> refuse_unsafe() const;
  Result<void> claim_tables();
  Result<void> rewrite(const Run& run, ByteView data);
  Result<void> fill_clusters(std::uint64_t offset, ByteView data);
  Result<void> ensure_l2(std::uint64_t index);
  Result<std::uint64_t> place_for(std::uint64_t entry, bool& allocated);
  Result<void> write_clusters(std::uint64_t place, ByteView data);
  void set_entries(std::uint64_t offset, std::uint64_t place, std::uint64_t count);
  Result<void> write_tables();
  Result<void> write_fields();
  Result<void> write_header(Header next);
  Result<void> refuse_header_change() const;
  Result<void> no_room() const;

  std::unique_ptr<os::File> file_;
  std::unique_ptr<os::File> writer_;  // the same file, for writing; null while the layer is read-only
  std::uint64_t virtual_bytes_ = 0;
  std::uint32_t cluster_bytes_ = 0;
  std::uint64_t l2_covers_ = 0;                 // bytes of the disk that one L2 table describes
  std::atomic<std::uint64_t> end_of_file_ = 0;  // nothing that is referred to begins beyond it

  mutable std::shared_mutex maps_mutex_;  // everything down to tables_
  std::string path_;
  std::string parent_path_;
  Header header_;
  std::vector<std::uint64_t> l1_;
  mutable std::vector<std::unique_ptr<L2Table>> tables_;  // null: not loaded
  mutable std::uint64_t loaded_ = 0;                      // how many are
  mutable std::uint64_t drop_from_ = 0;
  std::map<std::uint64_t, Dirty> dirty_;  // by index in L1

  // Of the writing thread.
  std::optional<Refcounts> refcounts_;
  std::unordered_set<std::uint64_t> metadata_;  // clusters (by number) that are no data
  bool keep_id_ = false;
  bool writing_ = false;
  bool unsynced_ = false;  // something was written since the last flush
  std::atomic<bool> broken_ = false;
};

}  // namespace roamstead::vdisk::qcow2
