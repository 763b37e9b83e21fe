#include "common/vdisk/block_device.h"

namespace roamstead::vdisk {

Result<void> BlockDevice::write(std::uint64_t, ByteView) {
  return fail(ErrorCode::denied, name() + ": opened for reading only");
}

Result<void> BlockDevice::flush() { return {}; }

SubDevice::SubDevice(BlockDevice& device, std::uint64_t offset, std::uint64_t size_bytes, std::string name)
    : device_(device), offset_(offset), size_bytes_(size_bytes), name_(std::move(name)) {}

Result<void> SubDevice::read(std::uint64_t offset, MutableByteView out) const {
  if (offset > size_bytes_ || out.size() > size_bytes_ - offset)
    return fail(ErrorCode::corrupt, name_ + ": read of " + std::to_string(out.size()) + " bytes at offset " +
                                        std::to_string(offset) + " beyond its end at " +
                                        std::to_string(size_bytes_));
  return device_.read(offset_ + offset, out);
}

Result<void> SubDevice::write(std::uint64_t offset, ByteView data) {
  if (offset > size_bytes_ || data.size() > size_bytes_ - offset)
    return fail(ErrorCode::invalid_argument, name_ + ": write of " + std::to_string(data.size()) +
                                                 " bytes at offset " + std::to_string(offset) +
                                                 " beyond its end at " + std::to_string(size_bytes_));
  return device_.write(offset_ + offset, data);
}

}  // namespace roamstead::vdisk
