// A disk as its reader sees it: a flat run of bytes.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/bytes.h"

namespace roamstead::vdisk {

// Content goes from one device to another in pieces of this size, or larger ones where a format wants that.
inline constexpr std::uint64_t kCopyBytes = 1u << 20;

// Reads may run concurrently with each other and with writes of other ranges.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;

  virtual std::uint64_t size_bytes() const = 0;
  virtual std::uint32_t sector_bytes() const { return 512; }
  // Any offset and length within the device; an error names the file, the offset and what was expected.
  virtual Result<void> read(std::uint64_t offset, MutableByteView out) const = 0;
  // Any offset and length; parts of sectors are read, changed and written.
  virtual Result<void> write(std::uint64_t offset, ByteView data);  // default: ErrorCode::denied
  // Returns once everything written is on stable storage.
  virtual Result<void> flush();  // default: nothing to do
  // For messages: the file or chain behind the device.
  virtual std::string name() const = 0;
};

// A part of another device (a partition). The device must outlive it.
class SubDevice final : public BlockDevice {
 public:
  SubDevice(BlockDevice& device, std::uint64_t offset, std::uint64_t size_bytes, std::string name);

  std::uint64_t size_bytes() const override { return size_bytes_; }
  std::uint32_t sector_bytes() const override { return device_.sector_bytes(); }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override;
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> flush() override { return device_.flush(); }
  std::string name() const override { return name_; }

 private:
  BlockDevice& device_;
  std::uint64_t offset_;
  std::uint64_t size_bytes_;
  std::string name_;
};

}  // namespace roamstead::vdisk
