// The provenance journals of a snapshot and of the one below it. The later one mostly is the earlier one with
// something appended: then it is read once, and where it is known already, only what was appended.
#pragma once

#include <memory>
#include <string>

#include "common/base/byte_range.h"
#include "common/extract/provenance.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {

struct Journals {
  std::unique_ptr<Provenance> now;         // null: no journal there
  std::unique_ptr<ProvenanceView> before;  // null: none there, or no snapshot below; may refer to `now`
  // `before`, where `now` goes on from it; else null.
  const EarlierProvenance* continued = nullptr;
};

// `path` on the volumes; `before` may be null. `changed`: bytes of the volume that may differ between the
// two. `known`: the journal of `before` as read earlier, or null. A journal that is damaged from its
// beginning is an error.
Result<Journals> read_journals(const Snapshot& now, const Snapshot* before, const std::string& path,
                               const RangeSet& changed, std::unique_ptr<Provenance> known);

}  // namespace roamstead::extract
