// Three-way merge of two versions of a profile: what `theirs` (a fork) changed since `base` is brought to
// `ours` (the head), per file and per registry value.
//
// What only theirs changed is taken; what only ours changed stays; what both changed alike is no conflict.
// Where they differ, ours stays where it is and the loser is kept:
//   - a file's (or link's) as a copy beside it: "name (conflict, LABEL).ext";
//   - a registry value's under the same name in Software\Roamstead\Conflicts\LABEL\<its key> of its hive
//     (below "Local Settings" in UsrClass.dat): a copy beside it could be taken for a setting of its own, as
//     below Run;
//   - what one deleted and the other changed is there, as the one that changed it has it.
// Attributes, times and security are merged one by one; where both changed one, ours stays, which is no
// conflict. A rename is a deletion and an addition. Every conflict is listed.
#pragma once

#include "coordinator/repository/tree.h"

namespace roamstead::repository {

struct MergePlan {
  profile::Batch batch;  // to be applied to `ours`; records only
  std::unique_ptr<profile::ContentSource> content;
  std::vector<MergeConflict> conflicts;
};

// Reads only what differs. `label` tells where theirs comes from ("desk-b, version 7"); what no file's name
// may have is replaced in it. All three are versions of one profile and must outlive the plan.
Result<MergePlan> plan_merge(const TreeView& base, const TreeView& ours, const TreeView& theirs,
                             const std::string& label);

}  // namespace roamstead::repository
