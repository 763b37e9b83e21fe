// Where a desktop's disk was saved last.
#pragma once

#include <set>
#include <string>

#include "common/base/guid.h"
#include "common/base/result.h"

namespace roamstead::server {

// The topmost layer of the disk that is among those batches were cut from: what the next one is compared
// with. Mostly it is the last batch's; of a machine that was set back the disk may have an earlier one, or
// one of another line. Zero: it has none, and the next batch holds everything since the session began.
Result<Guid> saved_layer(const std::string& disk, const std::set<Guid>& cut_from);

}  // namespace roamstead::server
