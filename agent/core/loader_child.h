// For the loader's own sources.
#pragma once

#include "agent/core/loader.h"

namespace roamstead::agent {

// A child on its way from the version's list to its name on the volume.
struct Loader::Child {
  const profile::NamedEntry* entry = nullptr;
  std::string staged;  // empty: it has its name already
  extract::ItemIdentity identity;
  std::shared_ptr<Item> item;                // null until it is in the journal
  std::vector<std::shared_ptr<Item>> inner;  // what was made below it while it was staged
};

}  // namespace roamstead::agent
