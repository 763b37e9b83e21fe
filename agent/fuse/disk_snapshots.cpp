#include "agent/fuse/disk_snapshots.h"

#include "common/base/archive.h"
#include "common/extract/extract.h"
#include "coordinator/diskfs/disk_control.h"

namespace roamstead::agent {

using diskcontrol::DiskControl;

namespace {

class ExtractedCut final : public Cut {
 public:
  explicit ExtractedCut(std::unique_ptr<extract::Extraction> extraction)
      : extraction_(std::move(extraction)) {}
  const profile::Batch& batch() const override { return extraction_->batch(); }
  profile::ContentSource& content() override { return extraction_->content(); }
  Bytes locators() const override { return encode(extraction_->locators()); }

 private:
  std::unique_ptr<extract::Extraction> extraction_;
};

// Frozen layers of this disk, from the top: differencing ones made by freezing it. The clone's parent is not
// among them.
std::vector<vdisk::LayerInfo> frozen_of(const std::vector<vdisk::LayerInfo>& layers) {
  std::vector<vdisk::LayerInfo> frozen;
  auto stem =
      layers.empty() ? std::string() : layers.front().path.substr(0, layers.front().path.rfind('.')) + ".";
  for (std::size_t i = 1; i < layers.size(); ++i) {
    bool ours = layers[i].kind == vdisk::LayerKind::differencing && layers[i].path.rfind(stem, 0) == 0;
    if (!ours) break;
    frozen.push_back(layers[i]);
  }
  return frozen;
}

}  // namespace

Result<std::unique_ptr<DiskSnapshots>> DiskSnapshots::open(Options options) {
  if (options.control_socket.empty()) options.control_socket = diskcontrol::default_socket(options.disk_path);
  RS_TRY(auto control, DiskControl::connect(options.control_socket));
  RS_TRY(auto layers, control.info());
  if (layers.empty() || layers.front().format == vdisk::Format::raw)
    return fail(ErrorCode::unsupported,
                options.disk_path + ": a raw disk cannot be frozen; convert it to VHDX first");
  return std::unique_ptr<DiskSnapshots>(new DiskSnapshots(std::move(options)));
}

Result<FrozenLayer> DiskSnapshots::freeze() {
  std::lock_guard lock(mutex_);
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  RS_TRY(auto frozen, control.freeze());
  return FrozenLayer{frozen.frozen_path, frozen.frozen_id};
}

Result<std::unique_ptr<Cut>> DiskSnapshots::cut(const FrozenLayer& frozen, const Guid& below) {
  std::lock_guard lock(mutex_);
  extract::Request request;
  request.frozen_path = frozen.path;
  request.below_id = below;
  request.partition = options_.partition;
  request.provenance_path = options_.provenance_path;
  RS_TRY(auto extraction, extract::extract(os::real_file_system(), request));
  return std::unique_ptr<Cut>(std::make_unique<ExtractedCut>(std::move(extraction)));
}

Result<std::unique_ptr<profile::ContentSource>> DiskSnapshots::open_content(const FrozenLayer& frozen,
                                                                            const profile::Batch& batch,
                                                                            ByteView locators) {
  std::lock_guard lock(mutex_);
  RS_TRY_CTX(auto where, "locators of the batch", decode<std::vector<extract::Locator>>(locators));
  return extract::open_content(os::real_file_system(), frozen.path, options_.partition, where, batch);
}

Result<std::size_t> DiskSnapshots::frozen_layers() {
  std::lock_guard lock(mutex_);
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  RS_TRY(auto layers, control.info());
  return frozen_of(layers).size();
}

Result<void> DiskSnapshots::tidy(const Guid& keep) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto control, DiskControl::connect(options_.control_socket));
  for (;;) {
    RS_TRY(auto layers, control.info());
    auto frozen = frozen_of(layers);
    // What remains of a pair carries the id of the upper one: the layer to keep is never the lower one.
    // Uppermost layers are the smallest, so pairs are taken from the top.
    std::size_t upper = 0;
    while (upper + 1 < frozen.size() && frozen[upper + 1].id == keep) ++upper;
    if (upper + 1 >= frozen.size()) return {};
    RS_CHECK(control.merge(upper + 1));  // its place in the chain, below the active layer
  }
}

}  // namespace roamstead::agent
