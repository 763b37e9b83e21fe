// What differs between two page trees, without reading the pages that they share.
#pragma once

#include "coordinator/repository/page_tree.h"

namespace roamstead::repository {

// Visits, in order, every key whose values differ; none where the tree lacks the key. The views live as long
// as the call. Pages are shared wherever the same ones lie between the same keys: what an edit leaves is not
// read.
using PageDiffVisit = std::function<Result<void>(std::string_view key, std::optional<ByteView> before,
                                                 std::optional<ByteView> after)>;
Result<void> diff_pages(PageSource& source, KeyOrder order, const ObjectId& before, const ObjectId& after,
                        const PageDiffVisit& visit);

}  // namespace roamstead::repository
