#include "agent/library/disk_chain_snapshots.h"

namespace roamstead::agent {

Result<FrozenLayer> DiskChainSnapshots::freeze_chain() {
  FrozenLayer layer;
  RS_CHECK(volume_.quiesce([&]() -> Result<void> {
    RS_TRY(auto frozen, disk_.freeze());
    layer = {std::move(frozen.frozen_path), frozen.frozen_id};
    return {};
  }));
  return layer;
}

}  // namespace roamstead::agent
