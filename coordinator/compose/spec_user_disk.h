// Reading [user_disk].
#pragma once

#include "coordinator/compose/pool_spec.h"

namespace roamstead::compose {

class SpecTable;

// After [pool], whose format it takes where it names none.
void read_user_disk(SpecTable& table, PoolSpec& spec);

}  // namespace roamstead::compose
