#include "coordinator/repository/chunker.h"

#include <algorithm>
#include <array>

namespace roamstead::repository {
namespace {

// SplitMix64 from this seed ("Roamster" as a big-endian number) makes the gear table.
constexpr std::uint64_t kGearSeed = 0x526F616D73746572;

constexpr std::array<std::uint64_t, 256> make_gear_table() {
  std::array<std::uint64_t, 256> table{};
  auto state = kGearSeed;
  for (auto& value : table) {
    state += 0x9E3779B97F4A7C15;
    auto mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
    value = mixed ^ (mixed >> 31);
  }
  return table;
}
constexpr auto kGear = make_gear_table();

// Normalised chunking, level 2: two bits more than the mean asks for before it, two fewer after it. The top
// bits are used: they depend on the last 64 bytes, the low ones on fewer. The mean is counted from the
// minimum on.
constexpr std::uint64_t top_bits(int count) { return ~std::uint64_t{0} << (64 - count); }
constexpr std::uint64_t kMaskBeforeMean = top_bits(18);
constexpr std::uint64_t kMaskAfterMean = top_bits(14);

}  // namespace

std::size_t first_chunk_bytes(ByteView data) {
  if (data.size() <= kMinChunkBytes) return data.size();
  auto end = std::min(data.size(), kMaxChunkBytes);
  auto mean = std::min(end, kMeanChunkBytes);
  std::uint64_t hash = 0;
  std::size_t at = kMinChunkBytes;
  for (; at < mean; ++at) {
    hash = (hash << 1) + kGear[std::to_integer<std::size_t>(data[at])];
    if ((hash & kMaskBeforeMean) == 0) return at + 1;
  }
  for (; at < end; ++at) {
    hash = (hash << 1) + kGear[std::to_integer<std::size_t>(data[at])];
    if ((hash & kMaskAfterMean) == 0) return at + 1;
  }
  return end;
}

}  // namespace roamstead::repository
