// Tests that try every point of something: where programs are many times slower (Wine), they try some, others
// at each run. ROAMSTEAD_TEST_THIN=8: one in eight.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace roamstead::support {

// How far it is from one point to the next that is tried: 1 unless the environment asks for less.
template <class Random>
std::uint64_t next_step(Random& random) {
  const char* text = std::getenv("ROAMSTEAD_TEST_THIN");
  const auto thin = text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
  return thin < 2 ? 1 : 1 + random() % (2 * thin - 1);
}

}  // namespace roamstead::support
