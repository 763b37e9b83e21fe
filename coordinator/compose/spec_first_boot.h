// Reading what runs at the first start: [[scripts]] and [first_boot].
#pragma once

#include <functional>

#include "coordinator/compose/pool_spec.h"

namespace roamstead::compose {

class SpecTable;

// A script of the administrator's, or one of the steps that the program brings along. `read` is for the
// content of a file on the host.
void read_first_boot_step(SpecTable& table, PoolSpec& spec,
                          const std::function<Result<Bytes>(const std::string&)>& read);
void read_first_boot_section(SpecTable& table, PoolSpec& spec);

}  // namespace roamstead::compose
