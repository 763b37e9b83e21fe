// Entries of a refcount block: 1 << order bits each, below a byte the first one lowest.
#pragma once

#include "common/base/bytes.h"

namespace roamstead::vdisk::qcow2 {

inline std::uint64_t load_count(ByteView block, std::uint32_t order, std::uint64_t index) {
  switch (order) {
    case 3:
      return load_be<std::uint8_t>(block, index);
    case 4:
      return load_be<std::uint16_t>(block, index * 2);
    case 5:
      return load_be<std::uint32_t>(block, index * 4);
    case 6:
      return load_be<std::uint64_t>(block, index * 8);
    default: {
      auto bit = index << order;
      return std::to_integer<unsigned>(block[bit / 8]) >> (bit % 8) & ((1u << (1u << order)) - 1);
    }
  }
}

inline void store_count(MutableByteView block, std::uint32_t order, std::uint64_t index,
                        std::uint64_t count) {
  switch (order) {
    case 3:
      return store_be<std::uint8_t>(block, index, static_cast<std::uint8_t>(count));
    case 4:
      return store_be<std::uint16_t>(block, index * 2, static_cast<std::uint16_t>(count));
    case 5:
      return store_be<std::uint32_t>(block, index * 4, static_cast<std::uint32_t>(count));
    case 6:
      return store_be<std::uint64_t>(block, index * 8, count);
    default: {
      auto bit = index << order;
      auto mask = ((1u << (1u << order)) - 1) << (bit % 8);
      auto old = std::to_integer<unsigned>(block[bit / 8]);
      auto value = static_cast<unsigned>(count) << (bit % 8) & mask;
      block[bit / 8] = static_cast<std::byte>((old & ~mask) | value);
    }
  }
}

}  // namespace roamstead::vdisk::qcow2
