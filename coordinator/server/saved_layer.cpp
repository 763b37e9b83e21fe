#include "coordinator/server/saved_layer.h"

#include "common/os/file.h"
#include "common/vdisk/disk.h"

namespace roamstead::server {

Result<Guid> saved_layer(const std::string& disk, const std::set<Guid>& cut_from) {
  if (cut_from.empty()) return Guid();
  RS_TRY(const auto chain, vdisk::Disk::open(os::real_file_system(), disk, vdisk::Access::read));
  for (const auto& layer : chain->layers())
    if (cut_from.count(layer.id) != 0) return layer.id;
  return Guid();
}

}  // namespace roamstead::server
