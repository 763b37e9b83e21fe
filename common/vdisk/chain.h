// Finding and opening the layers of a disk.
#pragma once

#include <memory>
#include <vector>

#include "common/vdisk/layer.h"

namespace roamstead::vdisk {

// A layer in use, with the lock that says so. The lock is held by an open file of its own, so that it can be
// exchanged for another kind while reads go on.
struct ChainLayer {
  std::shared_ptr<Layer> layer;
  ImageLayer* image = nullptr;  // the same, when its format knows parents
  std::shared_ptr<os::File> lock;
};
using Chain = std::vector<ChainLayer>;

inline constexpr std::size_t kMaxLayers = 64;

struct LayerOptions {
  std::optional<Format>
      format;  // what a child says; said to be raw, it is taken as that whatever it looks like
  bool ignore_checksum = false;
};
// With its lock.
Result<ChainLayer> open_layer(os::FileSystem& files, const std::string& path, Access access,
                              const LayerOptions& options = {});

// What is seen from layer `index` down; beyond the end of the layers are zeros.
Result<void> read_chain(const Chain& chain, std::size_t index, std::uint64_t offset, MutableByteView out);

// From the top down.
Result<Chain> open_chain(os::FileSystem& files, const std::string& path, Access access,
                         const OpenOptions& options = {});

Result<std::shared_ptr<os::File>> lock_file(os::FileSystem& files, const std::string& path, bool exclusive);

// A parent written to since the child was made, by somebody who does not renew ids: the times in both files
// say so, where the child noted one. They say it too after a copy that does not keep times. Nothing when all
// is well.
std::optional<std::string> later_than_noted(os::FileSystem& files, const std::string& child_path,
                                            const std::string& parent_path);

// A merge into this layer has begun and not ended: only through the layer above does it show what it should.
bool merge_pending(const ImageLayer& layer);

}  // namespace roamstead::vdisk
