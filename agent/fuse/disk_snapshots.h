// Snapshots of a disk served by `roamstead disk mount`, through its control socket.
#pragma once

#include <mutex>

#include "agent/core/snapshot_port.h"

namespace roamstead::agent {

class DiskSnapshots final : public SnapshotPort {
 public:
  struct Options {
    std::string disk_path;        // of the top layer
    std::string control_socket;   // empty: "<disk_path>.control"
    std::uint32_t partition = 0;  // 0: the first with NTFS
    std::string provenance_path;  // on the volume
  };
  // ErrorCode::unavailable when the disk is not mounted.
  static Result<std::unique_ptr<DiskSnapshots>> open(Options options);

  Result<FrozenLayer> freeze() override;
  Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) override;
  Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                               const profile::Batch& batch,
                                                               ByteView locators) override;
  Result<std::size_t> frozen_layers() override;
  Result<void> tidy(const Guid& keep) override;

 private:
  explicit DiskSnapshots(Options options) : options_(std::move(options)) {}

  const Options options_;
  std::mutex mutex_;  // one operation on the chain at a time
};

}  // namespace roamstead::agent
