// Finding and opening the layers of a disk.
#pragma once

#include <memory>
#include <vector>

#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk {

// A layer in use, with the lock that says so. The lock is held by an open file of its own, so that it can be
// exchanged for another kind while reads go on.
struct ChainLayer {
  std::shared_ptr<Layer> layer;
  vhdx::VhdxLayer* vhdx = nullptr;  // the same, when it is one
  std::shared_ptr<os::File> lock;
};
using Chain = std::vector<ChainLayer>;

inline constexpr std::size_t kMaxLayers = 64;

// From the top down.
Result<Chain> open_chain(os::FileSystem& files, const std::string& path, Access access);

Result<std::shared_ptr<os::File>> lock_file(os::FileSystem& files, const std::string& path, bool exclusive);

// The places a locator leads to, in the order in which they are tried. Windows paths are also tried without
// their drive or volume, and by their last name beside the child: where a disk was copied from Windows, its
// parent usually lies.
std::vector<std::string> parent_candidates(const std::string& child_path, const vhdx::ParentLocator& locator);

// Whether the locator names a parent with this id.
bool names_parent(const vhdx::ParentLocator& locator, const Guid& id);

// A merge into this layer has begun and not ended: only through the layer above does it show what it should.
bool merge_pending(const vhdx::VhdxLayer& layer);

}  // namespace roamstead::vdisk
