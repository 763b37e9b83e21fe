// SHA-256 (FIPS 180-4), without a library so that it is the same on every platform.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead {

using Sha256Digest = std::array<std::byte, 32>;

// Uses the processor's SHA instructions where it has them.
Sha256Digest sha256(ByteView data);

namespace internal {
// The portable code alone, for the test that compares the two.
Sha256Digest sha256_portable(ByteView data);
}  // namespace internal

}  // namespace roamstead
