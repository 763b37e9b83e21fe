// Loads what the rules want loaded before programs run.
#pragma once

#include <chrono>

#include "agent/core/loader.h"
#include "agent/core/registry_loader.h"
#include "common/profile/rules.h"

namespace roamstead::agent {

struct PreloadReport {
  std::uint64_t files = 0;
  std::uint64_t keys = 0;  // subtrees
  bool complete = true;    // false: the time was over first, or something could not be loaded
};

// Waits for it, but no longer than `patience` and what one load takes; what is left comes in the background.
// Never fails: a log-in is not refused for what would have come sooner.
PreloadReport preload(Loader& loader, RegistryLoader& registry, ProfileVolume& volume,
                      const std::string& profile_root, const profile::Rules& rules,
                      std::chrono::milliseconds patience);

}  // namespace roamstead::agent
