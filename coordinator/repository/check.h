// Reads a whole repository back and names everything that is not as it should be.
#pragma once

#include "coordinator/repository/object_store.h"

namespace roamstead::repository {

Result<CheckReport> check_repository(
    const PackStore& packs, const Catalog& catalog, ObjectStore& store,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress);

}  // namespace roamstead::repository
