// Whether a hive is whole: what Windows would find out only by losing it.
#pragma once

#include <vector>

#include "common/registry/hive.h"

namespace roamstead::registry {

struct CheckReport {
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t cells = 0;  // in use
  std::uint64_t free_cells = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t lost_cells =
      0;  // in use, but nothing refers to them: Windows leaves some behind, they do no harm
  std::uint64_t defect_count = 0;
  std::vector<Defect> defects;  // the first thousand

  bool sound() const { return defect_count == 0; }
};

// Looks at all of it: bins and cells fill the file; every cell in use is reached once; lists of subkeys are
// sorted without duplicates, with right hashes and hints; counts are right and largest lengths no less than
// what there is; parents are named; the ring of security descriptors is closed and holds all that are used,
// with right numbers of references. A few bytes of memory for every cell.
CheckReport check(const Hive& hive);

}  // namespace roamstead::registry
