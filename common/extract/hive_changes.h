// What changed in one hive between what the session holds of it and a snapshot, as records.
//
// The tree before is put together key by key:
//  - a key that was complete in the base hive (base_hive.h) of the previous snapshot is in the tree exactly
//  as
//    the live hive of that snapshot has it, and so is everything that programs made below it;
//  - one that became complete since is in the tree as the base hive has it, with what programs had put there
//    before (and what was sent) on top;
//  - of any other key the tree has at least what the live hive of the previous snapshot had, and possibly
//    values and subkeys that this desktop has not seen.
// So only what was loaded here, or made here and sent, is ever deleted; and a key made over one that was not
// loaded merges with it. What a program deleted before it was loaded is not seen to be gone: such a deletion
// is not sent.
//
// Times alone change nothing. What cannot be read, or cannot be in a profile, is held back by name, and
// nothing beside it in the same list counts as deleted.
#pragma once

#include <vector>

#include "common/extract/selection.h"
#include "common/profile/batch.h"
#include "common/registry/hive.h"

namespace roamstead::extract {

// What is known of a key's values and subkeys in the tree before.
enum class Knowledge {
  exact,    // they are those of the live hive before
  full,     // they are those of the base hive, and those of the live hive before on top
  partial,  // there may be more than those
};

struct HiveComparison {
  profile::ProfilePath hive;  // in the tree after
  const registry::Hive* now = nullptr;
  // The others may be null. `before`: the live hive of the previous snapshot.
  const registry::Hive* before = nullptr;
  const registry::Hive* base = nullptr;
  const registry::Hive* base_before = nullptr;  // may be `base` itself
  Knowledge above_root = Knowledge::partial;    // exact: without `before` there are no keys at all
  const Selection* selection = nullptr;         // null: everything
  // What was kept for log-out is compared with the base hive alone: no snapshot before sent anything of it.
  bool waited = false;
  bool send_all = false;  // whether keys are sent even when they look as the tree has them
};

struct HiveRecords {
  std::vector<profile::DeleteKey> deletes;
  std::vector<profile::PutKey> puts;  // parents first
  std::vector<profile::HeldBack> held_back;
};

// ErrorCode::unsupported when that is more than a batch can hold. Memory beyond the records: what differs,
// the lists of keys from the root to one key, and a 64th of the hives.
Result<HiveRecords> changes_of(const HiveComparison& comparison);

}  // namespace roamstead::extract
