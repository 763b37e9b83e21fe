// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF), as VHDX uses
// it.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead {

// Checksum of `data`; `previous` continues an earlier call's result.
std::uint32_t crc32c(ByteView data, std::uint32_t previous = 0);

}  // namespace roamstead
