// Snapshots of a disk that is a chain of layer files: batches are cut by an extractor that lives as long as
// this object, and acknowledged layers are merged. Who serves the disk says how it is frozen.
#pragma once

#include <mutex>
#include <vector>

#include "agent/core/snapshot_port.h"
#include "common/extract/extract.h"
#include "common/os/file.h"
#include "common/vdisk/disk.h"

namespace roamstead::agent {

class ChainSnapshots : public SnapshotPort {
 public:
  struct Options {
    std::uint32_t partition = 0;  // 0: the first with NTFS
    std::string provenance_path;  // on the volume
    std::string
        map_path;  // the extractor's map, in the desktop's state; "": not kept from process to process
  };

  Result<FrozenLayer> freeze() final;
  Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) final;
  Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                               const profile::Batch& batch,
                                                               ByteView locators) final;
  Result<std::size_t> frozen_layers() final;
  Result<void> tidy(const Guid& keep) final;

 protected:
  // `files` must outlive this.
  ChainSnapshots(os::FileSystem& files, Options options);

  // Called one at a time.
  virtual Result<FrozenLayer> freeze_chain() = 0;
  virtual Result<std::vector<vdisk::LayerInfo>> chain() = 0;  // from the top
  virtual Result<void> merge(std::size_t index) = 0;          // as vdisk::Disk::merge
  virtual bool can_merge() const { return true; }
  // Whether a layer below the top was frozen from this disk, and is not what the clone was made of. By its
  // name: freezing calls layers after the disk, NAME.0001 and so on; the clone's parent is not among them,
  // nor the reference snapshot of a pool's desktop, NAME.reference.
  virtual bool is_frozen(const vdisk::LayerInfo& top, const vdisk::LayerInfo& layer) const;

 private:
  std::vector<Guid> frozen_of(const std::vector<vdisk::LayerInfo>& layers) const;  // from the top

  os::FileSystem& files_;
  const Options options_;
  std::mutex mutex_;  // one operation on the chain at a time
  extract::Extractor extractor_;
};

}  // namespace roamstead::agent
