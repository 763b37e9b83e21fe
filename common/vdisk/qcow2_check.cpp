#include "common/vdisk/qcow2_check.h"

#include <algorithm>
#include <charconv>

#include "common/vdisk/qcow2_counter.h"
#include "common/vdisk/qcow2_format.h"

namespace roamstead::vdisk::qcow2 {
namespace {

using Severity = Finding::Severity;

constexpr std::uint32_t kBitmaps = 0x23852875;
// Four bytes of memory for each.
constexpr std::uint64_t kMaxClusters = std::uint64_t{1} << 27;
constexpr std::uint16_t kMany = 0x7fff;  // uses and counts beyond it are not told apart

class Check {
 public:
  explicit Check(const os::File& file) : file_(file) {}

  Result<std::vector<Finding>> run() {
    RS_CHECK(check_all());
    return std::move(findings_);
  }

 private:
  void add(Severity severity, std::uint64_t offset, std::string text) {
    if (findings_.size() + 1 < kMaxFindings) {
      findings_.push_back({severity, offset, std::move(text)});
    } else if (findings_.size() < kMaxFindings) {
      findings_.push_back(
          {Severity::error, offset,
           "more than " + std::to_string(kMaxFindings - 1) + " findings; the rest is left out"});
    }
  }

  // "FILE: at offset N: what" of what a reader refuses.
  Result<void> note(const Error& error) {
    if (error.code == ErrorCode::io) return fail(error);
    std::string_view text = error.message;
    std::uint64_t offset = 0;
    if (auto prefix = file_.path() + ": "; text.starts_with(prefix)) text.remove_prefix(prefix.size());
    if (constexpr std::string_view kAt = "at offset "; text.starts_with(kAt)) {
      text.remove_prefix(kAt.size());
      auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), offset);
      text.remove_prefix(static_cast<std::size_t>(end - text.data()));
      if (text.starts_with(": ")) text.remove_prefix(2);
    }
    add(Severity::error, offset, std::string(text));
    return {};
  }

  Result<void> check_all() {
    auto header = read_header(file_);
    if (!header) return note(header.error());
    header_ = std::move(*header);
    cluster_ = header_.cluster_bytes();
    check_features();
    RS_TRY(auto size, file_.size());
    clusters_ = (size + cluster_ - 1) / cluster_;
    if (clusters_ > kMaxClusters) {
      add(Severity::warning, 0,
          "too large to be checked: more than " + std::to_string(kMaxClusters) + " clusters");
      return {};
    }
    used_.resize(clusters_);
    tables_.resize(clusters_);
    counted_.resize(clusters_);
    use(0, 1, "the header", true);
    use(header_.refcount_table_offset / cluster_, header_.refcount_table_clusters, "the refcount table",
        true);
    use(header_.l1_offset / cluster_, (std::uint64_t{header_.l1_entries} * 8 + cluster_ - 1) / cluster_,
        "the L1 table", true);
    RS_CHECK(read_counts());
    RS_CHECK(check_l1());
    compare_counts();
    return {};
  }

  void check_features() {
    if (header_.incompatible & kDirty)
      add(Severity::warning, 72, "the file was not closed properly; its refcounts may be wrong");
    if (header_.incompatible & kCorrupt) add(Severity::error, 72, "the file is marked as corrupt");
    if (header_.snapshots != 0)
      add(Severity::note, 60,
          std::to_string(header_.snapshots) +
              " internal snapshots; refcounts are not compared, qemu-img check does that");
    if (header_.find(kMergedPath) != nullptr)
      add(Severity::note, 0, "a merge was interrupted; opening the disk for writing finishes it");
    if (!header_.backing_name.empty() && header_.text(kBackingFormat).empty())
      add(Severity::warning, 0, "the header does not say which format the parent has");
  }

  // Clusters from `first` on; tables may not share one with anything.
  void use(std::uint64_t first, std::uint64_t count, const std::string& name, bool is_table) {
    for (auto cluster = first; cluster < std::min(first + count, clusters_); ++cluster) {
      auto& used = used_[cluster];
      if (used != 0 && (is_table || tables_[cluster]))
        add(Severity::error, cluster * cluster_,
            name + " lies on " + (tables_[cluster] ? "a table" : "a cluster of the disk"));
      if (is_table) tables_[cluster] = true;
      if (used < kMany) ++used;
    }
  }

  bool valid_place(std::uint64_t offset) const {
    return offset % cluster_ == 0 && offset / cluster_ < clusters_;
  }
  std::string misplaced(const std::string& what, std::uint64_t offset) const {
    return what + " is said to be at " + std::to_string(offset) +
           "; a whole cluster within the file expected";
  }

  Result<Bytes> read_part(std::uint64_t offset, std::uint64_t length) const {
    Bytes part(length);
    RS_TRY(auto count, file_.read_at(offset, part));  // the file may end within its last cluster
    static_cast<void>(count);
    return part;
  }

  Result<void> read_counts() {
    RS_TRY(auto table, read_part(header_.refcount_table_offset, header_.refcount_table_clusters * cluster_));
    auto per_block = header_.refcounts_per_block();
    for (std::uint64_t i = 0; i < table.size() / 8; ++i) {
      auto offset = load_be<std::uint64_t>(table, i * 8);
      if (offset == 0) continue;
      auto where = header_.refcount_table_offset + i * 8;
      if (!valid_place(offset)) {
        add(Severity::error, where, misplaced("a refcount block", offset));
        continue;
      }
      use(offset / cluster_, 1, "the refcount block of cluster " + std::to_string(i * per_block), true);
      RS_TRY(auto block, read_part(offset, cluster_));
      bool beyond = false;
      for (std::uint64_t k = 0; k < per_block; ++k) {
        auto count = load_count(block, header_.refcount_order, k);
        auto cluster = i * per_block + k;
        if (cluster < clusters_)
          counted_[cluster] = static_cast<std::uint16_t>(std::min<std::uint64_t>(count, kMany));
        else
          beyond = beyond || count != 0;
      }
      if (beyond) add(Severity::note, offset, "counts clusters beyond the end of the file");
    }
    return {};
  }

  // The flag says that the refcount is 1, and nothing else.
  void check_copied(std::uint64_t entry, std::uint64_t where, const std::string& name) {
    if (header_.snapshots != 0) return;
    bool once = counted_[(entry & kOffsetMask) / cluster_] == 1;
    if (once != ((entry & kCopied) != 0))
      add(Severity::error, where,
          name +
              (once ? ": the copied flag is missing" : ": has the copied flag, but its refcount is not 1"));
  }

  Result<void> check_l1() {
    RS_TRY(auto table, read_part(header_.l1_offset, std::uint64_t{header_.l1_entries} * 8));
    for (std::uint64_t i = 0; i < header_.l1_entries; ++i) {
      auto entry = load_be<std::uint64_t>(table, i * 8);
      if (entry == 0) continue;
      auto where = header_.l1_offset + i * 8;
      auto name = "L2 table " + std::to_string(i);
      if (entry & kL1Reserved) add(Severity::error, where, name + ": reserved bits are set");
      auto offset = entry & kOffsetMask;
      if (offset == 0) continue;
      if (!valid_place(offset)) {
        add(Severity::error, where, misplaced(name, offset));
        continue;
      }
      bool again = tables_[offset / cluster_];
      use(offset / cluster_, 1, name, true);
      check_copied(entry, where, name);
      if (!again) RS_CHECK(check_l2(i, offset));  // a table named many times is followed once
    }
    return {};
  }

  Result<void> check_l2(std::uint64_t index, std::uint64_t table_offset) {
    RS_TRY(auto table, read_part(table_offset, cluster_));
    for (std::uint64_t i = 0; i < header_.l2_entries(); ++i) {
      auto entry = load_be<std::uint64_t>(table, i * 8);
      if (entry == 0) continue;
      auto where = table_offset + i * 8;
      auto name = "the disk's cluster " + std::to_string(index * header_.l2_entries() + i);
      if (entry & kCompressed) {
        check_compressed(entry, where, name);
        continue;
      }
      if (entry & kL2Reserved) add(Severity::error, where, name + ": reserved bits are set");
      if ((entry & kZero) && header_.version < 3)
        add(Severity::error, where, name + ": a zero cluster in a file of version 2");
      auto offset = entry & kOffsetMask;
      if (offset == 0) continue;
      if (!valid_place(offset)) {
        add(Severity::error, where, misplaced(name, offset));
        continue;
      }
      if (used_[offset / cluster_] != 0 && !tables_[offset / cluster_] && header_.snapshots == 0)
        add(Severity::error, where, name + ": its place is another cluster's too");
      use(offset / cluster_, 1, name, false);
      check_copied(entry, where, name);
    }
    return {};
  }

  // Low bits: where the data begins, in bytes; above them: how many sectors of 512 it goes on beyond the
  // first.
  void check_compressed(std::uint64_t entry, std::uint64_t where, const std::string& name) {
    has_compressed_ = true;
    auto bits = 62 - (header_.cluster_bits - 8);
    auto offset = entry & ((std::uint64_t{1} << bits) - 1);
    auto sectors = (entry & (kCompressed - 1)) >> bits;
    auto last = (offset / 512 + sectors) * 512 / cluster_;
    if (offset / cluster_ >= clusters_) {
      add(Severity::error, where, name + ": its compressed data begins beyond the end of the file");
      return;
    }
    if (entry & kCopied) add(Severity::error, where, name + ": is compressed and has the copied flag");
    use(offset / cluster_, last - offset / cluster_ + 1, name, false);
  }

  void compare_counts() {
    if (has_compressed_) add(Severity::note, 0, "there are compressed clusters, which are not read");
    if (header_.snapshots != 0) return;
    bool leaks = header_.find(kBitmaps) == nullptr;
    ByteRange leaked;
    auto report = [&] {
      if (!leaked.empty())
        add(Severity::note, leaked.offset,
            std::to_string(leaked.length / cluster_) + " clusters are counted but not used");
      leaked = {};
    };
    for (std::uint64_t cluster = 0; cluster < clusters_; ++cluster) {
      auto used = used_[cluster], counted = counted_[cluster];
      if (used > counted)
        add(Severity::error, cluster * cluster_,
            "the cluster is used " + std::to_string(used) + " times and counted " + std::to_string(counted) +
                " times");
      if (!leaks || counted <= used) {
        report();
        continue;
      }
      if (leaked.empty()) leaked.offset = cluster * cluster_;
      leaked.length += cluster_;
    }
    report();
  }

  const os::File& file_;
  Header header_;
  std::uint64_t cluster_ = 0;
  std::uint64_t clusters_ = 0;  // of the file
  std::vector<std::uint16_t> used_;
  std::vector<std::uint16_t> counted_;
  std::vector<bool> tables_;
  bool has_compressed_ = false;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  return Check(*file).run();
}

}  // namespace roamstead::vdisk::qcow2
