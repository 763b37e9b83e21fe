// Snapshots of a disk served by `roamstead disk mount`, through its control socket.
#pragma once

#include "agent/core/chain_snapshots.h"

namespace roamstead::agent {

class DiskSnapshots final : public ChainSnapshots {
 public:
  struct Options : ChainSnapshots::Options {
    std::string disk_path;       // of the top layer
    std::string control_socket;  // empty: "<disk_path>.control"
  };
  // ErrorCode::unavailable when the disk is not mounted.
  static Result<std::unique_ptr<DiskSnapshots>> open(Options options);

 private:
  explicit DiskSnapshots(Options options)
      : ChainSnapshots(os::real_file_system(), options), options_(std::move(options)) {}
  Result<FrozenLayer> freeze_chain() override;
  Result<std::vector<vdisk::LayerInfo>> chain() override;
  Result<void> merge(std::size_t index) override;

  const Options options_;
};

}  // namespace roamstead::agent
