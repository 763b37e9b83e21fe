// Lists in pages. A page begins behind an item's key and not at a number, so that items that come or go
// between two pages are no reason for others to be missed or told twice.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace roamstead::rest {

struct PageRequest {
  std::size_t limit = 0;
  std::string cursor;  // "": from the beginning
  std::string list;    // what is listed, and how it is filtered: a cursor is good for that only
};

// {"items": [...], "next_cursor": "..."?}; ordered by the items' fields `keys`, texts by bytes, numbers by
// value. ErrorCode::invalid_argument for a cursor that was not made for this list.
Result<nlohmann::json> page_of(std::vector<nlohmann::json> items, const std::vector<std::string>& keys,
                               const PageRequest& request);

}  // namespace roamstead::rest
