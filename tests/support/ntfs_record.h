// MFT records and index blocks written by tests: attributes put together byte by byte, sectors protected by
// fixups.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/ntfs/record.h"
#include "common/ntfs/volume.h"
#include "tests/support/memory_device.h"

namespace roamstead::support {

// The inverse of ntfs::apply_fixups.
inline void protect(MutableByteView structure) {
  const auto sequence_at = load_le<std::uint16_t>(structure, 4);
  const auto number = load_le<std::uint16_t>(structure, sequence_at);
  for (std::size_t i = 1; i <= structure.size() / 512; ++i) {
    store_le(structure, sequence_at + 2 * i, load_le<std::uint16_t>(structure, i * 512 - 2));
    store_le(structure, i * 512 - 2, number);
  }
}

// Where record `number` lies on the device, or where a byte of any stream does.
inline std::uint64_t stream_place(const ntfs::Volume& volume, const ntfs::StreamInfo& stream,
                                  std::uint64_t offset) {
  for (const auto& extent : volume.device_extents(stream))
    if (offset - extent.stream_offset < extent.device.length)
      return extent.device.offset + offset - extent.stream_offset;
  throw std::runtime_error("not in the stream");
}
inline std::uint64_t record_place(const ntfs::Volume& volume, std::uint64_t number) {
  return stream_place(volume, volume.mft(), number * volume.info().record_bytes);
}

// Changes a protected structure in place, its fixups taken off for `change`.
inline void edit(MemoryDevice& device, std::uint64_t place, std::size_t size,
                 const std::function<void(MutableByteView)>& change) {
  const auto bytes = MutableByteView(device.content()).subspan(static_cast<std::size_t>(place), size);
  if (!ntfs::apply_fixups(bytes)) throw std::runtime_error("already torn");
  change(bytes);
  protect(bytes);
}

// Little-endian fields at stated offsets of a buffer that grows as needed.
class Fields {
 public:
  template <std::unsigned_integral T>
  Fields& at(std::size_t offset, T value) {
    if (bytes_.size() < offset + sizeof(T)) bytes_.resize(offset + sizeof(T));
    store_le(MutableByteView(bytes_), offset, value);
    return *this;
  }
  Fields& bytes_at(std::size_t offset, ByteView value) {
    if (bytes_.size() < offset + value.size()) bytes_.resize(offset + value.size());
    std::copy(value.begin(), value.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return *this;
  }
  // Padded to a multiple of 8.
  Bytes padded() const {
    auto copy = bytes_;
    copy.resize((copy.size() + 7) / 8 * 8);
    return copy;
  }

 private:
  Bytes bytes_;
};

inline Bytes resident_attribute(std::uint32_t type, std::uint16_t id, ByteView value) {
  Fields fields;
  fields.at<std::uint32_t>(0, type).at<std::uint8_t>(8, 0).at<std::uint16_t>(14, id);
  fields.at<std::uint32_t>(16, static_cast<std::uint32_t>(value.size()))
      .at<std::uint32_t>(20, 24)
      .bytes_at(24, value);
  auto bytes = fields.padded();
  store_le(MutableByteView(bytes), 4, static_cast<std::uint32_t>(bytes.size()));
  return bytes;
}

// `size_bytes` is both size and valid size.
inline Bytes nonresident_attribute(std::uint32_t type, std::uint16_t id, std::uint64_t lowest_vcn,
                                   std::uint64_t highest_vcn, std::uint64_t size_bytes,
                                   ByteView mapping_pairs) {
  Fields fields;
  fields.at<std::uint32_t>(0, type).at<std::uint8_t>(8, 1).at<std::uint16_t>(10, 64).at<std::uint16_t>(14,
                                                                                                       id);
  fields.at(16, lowest_vcn)
      .at(24, highest_vcn)
      .at<std::uint16_t>(32, 64)
      .at(40, size_bytes)
      .at(48, size_bytes);
  fields.at(56, size_bytes).bytes_at(64, mapping_pairs);
  auto bytes = fields.padded();
  store_le(MutableByteView(bytes), 4, static_cast<std::uint32_t>(bytes.size()));
  return bytes;
}

inline Bytes mapping_pairs(const std::vector<ntfs::Run>& runs) {
  ByteWriter writer;
  std::uint64_t previous = 0;
  for (const auto& run : runs) {
    writer.le<std::uint8_t>(run.sparse ? 0x08 : 0x88);
    writer.le(run.clusters);
    if (run.sparse) continue;
    writer.le(run.lcn - previous);
    previous = run.lcn;
  }
  writer.le<std::uint8_t>(0);
  return writer.take();
}

inline Bytes list_entry(std::uint32_t type, std::uint64_t lowest_vcn, std::uint64_t holder,
                        std::uint16_t sequence, std::uint16_t id) {
  Fields fields;
  fields.at(0, type).at<std::uint16_t>(4, 32).at<std::uint8_t>(7, 26).at(8, lowest_vcn);
  fields.at(16, holder | std::uint64_t{sequence} << 48).at(24, id);
  auto bytes = fields.padded();
  bytes.resize(32);
  return bytes;
}

// A whole record of these attributes, not yet protected.
inline Bytes make_record(std::uint64_t number, std::uint16_t sequence, std::uint16_t flags,
                         std::uint64_t base, const std::vector<Bytes>& attributes,
                         std::size_t record_bytes = 1024) {
  Fields fields;
  fields.bytes_at(0, as_bytes("FILE")).at<std::uint16_t>(4, 48);
  fields.at(6, static_cast<std::uint16_t>(record_bytes / 512 + 1)).at(16, sequence).at<std::uint16_t>(18, 1);
  const std::size_t first = 48 + (record_bytes / 512 + 1 + 3) / 4 * 8;
  fields.at(20, static_cast<std::uint16_t>(first))
      .at(22, flags)
      .at(28, static_cast<std::uint32_t>(record_bytes));
  fields.at(32, base).at(44, static_cast<std::uint32_t>(number)).at<std::uint16_t>(48, 7);
  auto end = first;
  for (const auto& attribute : attributes) {
    fields.bytes_at(end, attribute);
    end += attribute.size();
  }
  fields.at<std::uint64_t>(end, 0xFFFF'FFFF).at(24, static_cast<std::uint32_t>(end + 8));
  auto bytes = fields.padded();
  if (bytes.size() > record_bytes) throw std::runtime_error("the attributes do not fit");
  bytes.resize(record_bytes);
  return bytes;
}

}  // namespace roamstead::support
