// The two snapshots that an extraction compares, and what lies between them.
#pragma once

#include <memory>
#include <string>

#include "common/base/byte_range.h"
#include "common/extract/extract.h"
#include "common/extract/journals.h"
#include "common/extract/profile_tree.h"
#include "common/extract/snapshot.h"

namespace roamstead::extract {

// What lies above the layer `below_id` in the chain, and that layer's path.
struct Delta {
  RangeSet extents;        // of the disk
  std::string below_path;  // empty: nothing below
};
// `below_id` zero: above the layer beneath the top. ErrorCode::not_found when no layer has the id.
Result<Delta> find_delta(const vdisk::Disk& disk, const Guid& below_id);

// The part of `extents` that is the volume's, in the volume's own offsets.
RangeSet on_volume(const RangeSet& extents, const Snapshot& snapshot);

// Of `ranges`, in whole pages, what really differs.
Result<RangeSet> really_changed(const RangeSet& ranges, const Snapshot& now, const Snapshot& before);

struct Sides {
  std::unique_ptr<Snapshot> now;
  std::unique_ptr<Snapshot> before;  // null: the tree before is what provenance alone tells
  Journals journals;
  std::string profile_root;
  Delta delta;
};

// The journal of the snapshot that was extracted last.
struct KnownJournal {
  MapState state;
  std::string path;
  std::unique_ptr<Provenance> provenance;  // null: none

  // Gives it away if it is that snapshot's, forgets it if not.
  std::unique_ptr<Provenance> take_for(const Snapshot& snapshot, const std::string& journal_path);
};

Result<Sides> open_sides(os::FileSystem& files, const Request& request, KnownJournal& known);

// Where the profile and what belongs to the agent are on one of the two.
Result<ProfileTree::Roots> find_roots(const Snapshot& snapshot, const Sides& sides, const Request& request);

}  // namespace roamstead::extract
