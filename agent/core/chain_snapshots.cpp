#include "agent/core/chain_snapshots.h"

#include "common/base/archive.h"
#include "common/base/log.h"

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

}  // namespace

ChainSnapshots::ChainSnapshots(os::FileSystem& files, Options options)
    : files_(files), options_(std::move(options)), extractor_(files, {options_.map_path, true}) {}

bool ChainSnapshots::is_frozen(const vdisk::LayerInfo& top, const vdisk::LayerInfo& layer) const {
  const auto stem = top.path.substr(0, top.path.rfind('.')) + ".";
  const auto& path = layer.path;
  return path.starts_with(stem) && path.size() > stem.size() && path[stem.size()] >= '0' &&
         path[stem.size()] <= '9';
}

std::vector<Guid> ChainSnapshots::frozen_of(const std::vector<vdisk::LayerInfo>& layers) const {
  std::vector<Guid> frozen;
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (layers[i].kind != vdisk::LayerKind::differencing || !is_frozen(layers.front(), layers[i])) break;
    frozen.push_back(layers[i].id);
  }
  return frozen;
}

Result<FrozenLayer> ChainSnapshots::freeze() {
  std::lock_guard lock(mutex_);
  return freeze_chain();
}

Result<std::unique_ptr<Cut>> ChainSnapshots::cut(const FrozenLayer& frozen, const Guid& below) {
  std::lock_guard lock(mutex_);
  extract::Request request;
  request.frozen_path = frozen.path;
  request.below_id = below;
  request.partition = options_.partition;
  request.provenance_path = options_.provenance_path;
  RS_TRY(auto extraction, extractor_.extract(request));
  const auto& found = extraction->statistics();
  log_info("extracted in {:.0f} ms: {} KiB differ of {} KiB written, {} candidates, {} files examined{}{}",
           found.seconds * 1e3, found.changed_bytes >> 10, found.delta_bytes >> 10, found.candidate_records,
           found.files_examined, found.map_built ? ", cluster map built" : "",
           found.journal_continued ? ", journal continued" : "");
  return std::unique_ptr<Cut>(std::make_unique<ExtractedCut>(std::move(extraction)));
}

Result<std::unique_ptr<profile::ContentSource>> ChainSnapshots::open_content(const FrozenLayer& frozen,
                                                                             const profile::Batch& batch,
                                                                             ByteView locators) {
  std::lock_guard lock(mutex_);
  RS_TRY_CTX(const auto where, "locators of the batch", decode<std::vector<extract::Locator>>(locators));
  return extract::open_content(files_, frozen.path, options_.partition, where, batch);
}

Result<std::size_t> ChainSnapshots::frozen_layers() {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto layers, chain());
  return frozen_of(layers).size();
}

Result<void> ChainSnapshots::tidy(const Guid& keep) {
  std::lock_guard lock(mutex_);
  if (!can_merge()) return {};
  for (;;) {
    RS_TRY(const auto layers, chain());
    const auto frozen = frozen_of(layers);
    // What remains of a pair has the id of the upper one, so the layer to keep is never the lower one. The
    // topmost layers are the smallest: pairs are taken from there.
    std::size_t upper = 0;
    while (upper + 1 < frozen.size() && frozen[upper + 1] == keep) ++upper;
    if (upper + 1 >= frozen.size()) return {};
    RS_CHECK(merge(upper + 1));  // its place in the chain, below the active layer
  }
}

}  // namespace roamstead::agent
