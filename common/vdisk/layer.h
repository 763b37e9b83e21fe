// One file of a disk's chain, as the chain reads and writes it.
//
// Lookups and reads may run from any thread at any time; what changes a layer (write, flush, begin_…) is
// called by one thread at a time.
#pragma once

#include <memory>

#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

class Layer {
 public:
  // Where the bytes of a piece of the disk are.
  struct Piece {
    enum class Source { here, zero, below } source = Source::below;
    std::uint64_t file_offset = 0;  // for `here`
    std::uint64_t length = 0;       // at least 1, at most what was asked for
  };

  virtual ~Layer() = default;

  virtual LayerInfo info() const = 0;
  virtual std::uint64_t virtual_bytes() const = 0;
  // The first piece of [offset, offset + length); the range lies within virtual_bytes and is not empty.
  virtual Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const = 0;
  virtual Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const = 0;
  // The bytes this layer itself holds.
  virtual Result<RangeSet> extents() const = 0;

  // Bytes a write's offset and length must be multiples of.
  virtual std::uint32_t write_unit() const = 0;
  // May be lost by a crash until the next flush, but never shows anything but the old or the new sectors.
  virtual Result<void> write(std::uint64_t offset, ByteView data) = 0;
  virtual Result<void> flush() = 0;
};

// What the file is, by its name where that says so (.vhdx, .avhdx, .raw, .img), else by its content.
Result<Format> detect_format(const os::File& file, const std::string& path);

Result<std::unique_ptr<Layer>> open_raw_layer(os::FileSystem& files, const std::string& path, Access access);

}  // namespace roamstead::vdisk
