// A volume that is a table of items: what extraction's comparison asks of an NTFS volume, answered without
// one. Nothing lies at a place on a device here.
#pragma once

#include <functional>

#include "agent/scan/saved_tree.h"
#include "common/ntfs/volume.h"

namespace roamstead::agent {

// Files that were copied when programs were held are read from their copies; those outside the profile are
// found by their paths.
class TableVolume : public ntfs::Volume {
 public:
  const ntfs::VolumeInfo& info() const override { return info_; }
  Result<Bytes> raw_record(std::uint64_t number) const override;
  Result<std::uint64_t> base_record(std::uint64_t number) const override;
  Result<void> scan(const std::function<bool(std::uint64_t, Result<ntfs::FileRecord>)>& visit) const override;
  const ntfs::StreamInfo& mft() const override { return mft_; }
  std::vector<ntfs::RecordSpan> records_in(ByteRange) const override { return {}; }
  std::vector<ntfs::StreamExtent> device_extents(const ntfs::StreamInfo& stream) const override;
  Result<std::string> path_of(const ntfs::FileRecord& file) const override;
  Result<std::string> path_of(const ntfs::NameInfo& name) const override;
  Result<ntfs::FileReference> lookup(const std::string& path) const override;
  Result<void> read(const ntfs::StreamInfo& stream, std::uint64_t offset, MutableByteView out) const override;
  Result<Bytes> security_descriptor(std::uint32_t number) const override { return tree_.security(number); }

 protected:
  // `tree`, `files` must outlive it. `root` is the profile's folder.
  TableVolume(const SavedTree& tree, os::FileSystem& files, std::string spool, std::string profile_root,
              const ntfs::FileReference& root, std::vector<CopiedFile> copies);
  const std::string& profile_root() const { return profile_root_; }
  const ntfs::FileReference& root() const { return root_; }
  const CopiedFile* copy_of(std::uint64_t record) const;
  // The record of a copied file that lies outside the profile.
  ntfs::FileRecord record_of(const CopiedFile& copy) const;
  // Of what was not copied.
  virtual Result<void> read_live(const ntfs::StreamInfo& stream, std::uint64_t offset,
                                 MutableByteView out) const = 0;

  const SavedTree& tree_;

 private:
  os::FileSystem& files_;
  const std::string spool_;
  const std::string profile_root_;
  const ntfs::FileReference root_;
  const std::vector<CopiedFile> copies_;
  ntfs::VolumeInfo info_;
  ntfs::StreamInfo mft_;
};

// The mirror: as batches left it.
class SavedVolume final : public TableVolume {
 public:
  SavedVolume(const SavedTree& tree, os::FileSystem& files, std::string spool, std::string profile_root,
              const ntfs::FileReference& root)
      : TableVolume(tree, files, std::move(spool), std::move(profile_root), root, tree.facts()->hives) {}
  Result<ntfs::FileRecord> record(std::uint64_t number) const override;
  Result<std::vector<DirectoryEntry>> list(std::uint64_t directory) const override;

 private:
  Result<void> read_live(const ntfs::StreamInfo& stream, std::uint64_t offset,
                         MutableByteView out) const override;
};

}  // namespace roamstead::agent
