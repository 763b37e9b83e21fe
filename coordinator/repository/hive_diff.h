// What differs between two states of a hive.
#pragma once

#include "coordinator/repository/hive_view.h"

namespace roamstead::repository {

// As Tree::diff_keys; a zero root is a hive without keys. Pages that the two share are not read.
Result<void> diff_hives(ProfileObjects& objects, const ObjectId& before, const ObjectId& after,
                        const std::function<void(const Tree::KeyDifference&)>& visit);

}  // namespace roamstead::repository
