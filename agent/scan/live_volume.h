// The profile as it lies on the volume now, as far as a scan has listed it. What is as the tree knows it is
// taken from there; everything else is asked of the volume when it is wanted.
#pragma once

#include <set>

#include "agent/scan/table_volume.h"
#include "agent/scan/tree_listing.h"
#include "common/extract/provenance.h"

namespace roamstead::agent {

// Not thread-safe, const access neither: it remembers what it read.
class LiveVolume final : public TableVolume {
 public:
  // All must outlive it. The journal, as it is and as it was when the tree was cut, may be null.
  struct Sources {
    ScanSource& source;
    SavedTree& tree;
    os::FileSystem& files;
    const extract::Provenance* provenance = nullptr;
    const extract::ProvenanceView* earlier = nullptr;
  };
  static Result<std::unique_ptr<LiveVolume>> make(const Sources& sources, std::string spool,
                                                  std::string profile_root, std::string staging_root,
                                                  TreeListing listing, std::vector<CopiedFile> copies);

  using TableVolume::root;
  bool has(std::uint64_t record) const { return listing_.items.count(record) != 0; }
  // Records that are not as the tree knows them, also those that are gone.
  const std::set<std::uint64_t>& changed() const { return changed_; }
  std::vector<std::uint64_t> all() const;
  // Records of what lies in folders that are others than the tree knows by their records: its names have
  // changed, though nothing of it has.
  Result<std::vector<std::uint64_t>> in_replaced_folders() const;
  // Leaves a file out, with all that is below, as if it had not been listed.
  void forget(std::uint64_t record);
  // For the tree: 0 where a later change might not show.
  Result<std::uint64_t> fingerprint(std::uint64_t record) const;
  // Whether the file is still as it was when record() looked at it.
  Result<bool> is_unchanged(std::uint64_t record) const;
  // Something was not where it had been listed: what this says is of no use.
  bool disturbed() const { return disturbed_; }
  // A program has a file open and shares it with nobody.
  bool met_open_files() const { return met_open_files_; }
  // Why the file's bytes cannot be had; nothing: they can, or nobody tried.
  std::optional<std::string> blocked(std::uint64_t record) const;

  Result<ntfs::FileRecord> record(std::uint64_t number) const override;
  Result<std::vector<DirectoryEntry>> list(std::uint64_t directory) const override;

 private:
  struct Looked {
    ntfs::FileRecord file;
    ItemStamp stamp;
    std::uint64_t at_100ns = 0;  // when
    std::optional<std::string> blocked;
  };
  LiveVolume(const Sources& sources, std::string spool, std::string profile_root, TreeListing listing,
             const ntfs::FileReference& root, std::vector<CopiedFile> copies);
  Result<const Looked*> look_at(std::uint64_t number) const;
  Result<std::uint16_t> sequence(const ListedItem& listed, const ItemDetails& details) const;
  bool is_same_item(const SavedItem& known, const ItemDetails& details) const;
  Result<Bytes> security(std::uint64_t record, Bytes told) const;
  Result<ntfs::FileReference> reference(std::uint64_t record) const;
  Result<std::string> path_on_volume(std::uint64_t record) const;
  std::uint64_t print(const ListedItem& listed, const ItemStamp& stamp) const;
  Error gone(const std::string& path) const;
  Result<void> read_live(const ntfs::StreamInfo& stream, std::uint64_t offset,
                         MutableByteView out) const override;

  ScanSource& source_;
  SavedTree& writable_tree_;
  const extract::Provenance* provenance_;
  const extract::ProvenanceView* earlier_;
  TreeListing listing_;
  std::string staging_root_;
  std::unordered_map<std::uint64_t, std::uint64_t> known_;  // fingerprints in the tree
  std::set<std::uint64_t> changed_;
  mutable std::unordered_map<std::uint64_t, Looked> looked_;
  mutable std::unordered_map<std::uint64_t, ntfs::FileReference> references_;
  mutable std::vector<std::pair<std::uint64_t, std::uint64_t>> by_parent_;  // (folder, record), sorted
  mutable bool disturbed_ = false;
  mutable bool met_open_files_ = false;
  mutable std::unique_ptr<VolumeHandle> open_;
};

}  // namespace roamstead::agent
