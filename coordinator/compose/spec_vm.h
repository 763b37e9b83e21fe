// The section [vm] of a specification.
#pragma once

#include <functional>

#include "coordinator/compose/pool_spec.h"
#include "coordinator/compose/spec_reader.h"

namespace roamstead::compose {

// The rest of the specification has been read: what the hypervisor cannot attach is noted here, with the line
// of vm.adapter. `read_file` reads a file that the specification names.
void read_vm(SpecTable& table, PoolSpec& spec,
             const std::function<Result<Bytes>(const std::string& path)>& read_file);

}  // namespace roamstead::compose
