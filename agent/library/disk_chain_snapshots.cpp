#include "agent/library/disk_chain_snapshots.h"

#include "common/base/archive.h"
#include "common/extract/extract.h"

namespace roamstead::agent {
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

// Frozen layers of this disk, from the top: freezing names them after the disk. The clone's parent is not
// among them.
std::vector<Guid> frozen_of(const std::vector<vdisk::LayerInfo>& layers) {
  std::vector<Guid> frozen;
  if (layers.empty()) return frozen;
  const auto stem = layers.front().path.substr(0, layers.front().path.rfind('.')) + ".";
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (layers[i].kind != vdisk::LayerKind::differencing || !layers[i].path.starts_with(stem)) break;
    frozen.push_back(layers[i].id);
  }
  return frozen;
}

}  // namespace

Result<FrozenLayer> DiskChainSnapshots::freeze() {
  std::lock_guard lock(mutex_);
  FrozenLayer layer;
  RS_CHECK(volume_.quiesce([&]() -> Result<void> {
    RS_TRY(auto frozen, disk_.freeze());
    layer = {std::move(frozen.frozen_path), frozen.frozen_id};
    return {};
  }));
  return layer;
}

Result<std::unique_ptr<Cut>> DiskChainSnapshots::cut(const FrozenLayer& frozen, const Guid& below) {
  std::lock_guard lock(mutex_);
  extract::Request request;
  request.frozen_path = frozen.path;
  request.below_id = below;
  request.partition = options_.partition;
  request.provenance_path = options_.provenance_path;
  RS_TRY(auto extraction, extract::extract(files_, request));
  return std::unique_ptr<Cut>(std::make_unique<ExtractedCut>(std::move(extraction)));
}

Result<std::unique_ptr<profile::ContentSource>> DiskChainSnapshots::open_content(const FrozenLayer& frozen,
                                                                                 const profile::Batch& batch,
                                                                                 ByteView locators) {
  std::lock_guard lock(mutex_);
  RS_TRY_CTX(const auto where, "locators of the batch", decode<std::vector<extract::Locator>>(locators));
  return extract::open_content(files_, frozen.path, options_.partition, where, batch);
}

Result<std::size_t> DiskChainSnapshots::frozen_layers() {
  std::lock_guard lock(mutex_);
  return frozen_of(disk_.layers()).size();
}

Result<void> DiskChainSnapshots::tidy(const Guid& keep) {
  std::lock_guard lock(mutex_);
  for (;;) {
    const auto frozen = frozen_of(disk_.layers());
    // What remains of a pair has the id of the upper one, so the layer to keep is never the lower one. The
    // topmost layers are the smallest: pairs are taken from there.
    std::size_t upper = 0;
    while (upper + 1 < frozen.size() && frozen[upper + 1] == keep) ++upper;
    if (upper + 1 >= frozen.size()) return {};
    RS_CHECK(disk_.merge(upper + 1));  // its place in the chain, below the active layer
  }
}

}  // namespace roamstead::agent
