// Verifies a disk: the structure of every layer's file, and that the layers belong together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/vdisk/check_finding.h"
#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

struct LayerCheck {
  std::string path;
  Format format = Format::raw;
  std::vector<Finding> findings;
};

struct DiskCheck {
  std::vector<LayerCheck> layers;  // from the top down, as far as the chain can be followed
  // Why the disk does not open, which may be of several layers together: a parent that is missing or changed.
  std::optional<Error> refused;

  bool has_errors() const;
};

// Goes on after a finding as far as what follows can be told at all. An error only when a file cannot be
// read.
Result<DiskCheck> check_disk(os::FileSystem& files, const std::string& path);

}  // namespace roamstead::vdisk
