// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF), as VHDX uses
// it.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead {

// Checksum of `data`; `previous` continues an earlier call's result. By the processor's instruction where it
// has one.
std::uint32_t crc32c(ByteView data, std::uint32_t previous = 0);
// The same by tables, for processors without, and to compare.
std::uint32_t crc32c_by_table(ByteView data, std::uint32_t previous = 0);

}  // namespace roamstead
