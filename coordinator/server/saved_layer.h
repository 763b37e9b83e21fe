// Where a desktop's disk was saved last.
#pragma once

#include <set>
#include <string>

#include "common/base/guid.h"
#include "common/base/result.h"

namespace roamstead::server {

// The topmost layer of the disk that is among those batches were cut from; `otherwise` if none is. Mostly it
// is the last batch's. Of a machine that was set back the disk may have an earlier one, or one of another
// line.
Result<Guid> saved_layer(const std::string& disk, const std::set<Guid>& cut_from, const Guid& otherwise);

}  // namespace roamstead::server
