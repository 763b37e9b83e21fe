// CRC-32 (ISO-HDLC, reflected polynomial 0xEDB88320), as GPT uses it.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead::volume {

std::uint32_t crc32(ByteView data);

}  // namespace roamstead::volume
