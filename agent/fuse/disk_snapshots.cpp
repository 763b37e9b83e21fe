#include "agent/fuse/disk_snapshots.h"

#include "coordinator/diskfs/disk_control.h"

namespace roamstead::agent {

using diskcontrol::DiskControl;

Result<std::unique_ptr<DiskSnapshots>> DiskSnapshots::open(Options options) {
  if (options.control_socket.empty()) options.control_socket = diskcontrol::default_socket(options.disk_path);
  RS_TRY(auto control, DiskControl::connect(options.control_socket));
  RS_TRY(auto layers, control.info());
  if (layers.empty() || layers.front().format == vdisk::Format::raw)
    return fail(ErrorCode::unsupported,
                options.disk_path + ": a raw disk cannot be frozen; convert it to VHDX first");
  return std::unique_ptr<DiskSnapshots>(new DiskSnapshots(std::move(options)));
}

Result<FrozenLayer> DiskSnapshots::freeze_chain() {
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  RS_TRY(auto frozen, control.freeze());
  return FrozenLayer{frozen.frozen_path, frozen.frozen_id};
}

Result<std::vector<vdisk::LayerInfo>> DiskSnapshots::chain() {
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  return control.info();
}

Result<void> DiskSnapshots::merge(std::size_t index) {
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  return control.merge(index);
}

}  // namespace roamstead::agent
