// Marvin32, the keyed hash that Windows puts over entries of registry logs. The algorithm is published in the
// .NET runtime's sources and in patent US 20130262421.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace roamstead::registry {

inline constexpr std::uint64_t kLogSeed = 0x82EF4D887A4E55C5;

std::uint64_t marvin32(ByteView data, std::uint64_t seed = kLogSeed);

}  // namespace roamstead::registry
