// Random tests print their seed and take it from ROAMSTEAD_TEST_SEED.
#pragma once

#include <cstdlib>
#include <iostream>
#include <random>

namespace roamstead::support {

inline std::mt19937_64 seeded_random() {
  const char* text = std::getenv("ROAMSTEAD_TEST_SEED");
  auto seed = text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  std::cout << "ROAMSTEAD_TEST_SEED=" << seed << '\n';
  return std::mt19937_64(seed);
}

}  // namespace roamstead::support
