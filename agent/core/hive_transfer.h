// From a hive's file to a loaded hive and back, for systems that cannot use the file itself (Wine has no
// regf): what Windows' kernel does there when it mounts and flushes a hive.
#pragma once

#include <vector>

#include "agent/core/loaded_hive.h"
#include "common/registry/editor.h"

namespace roamstead::agent {

struct TransferOptions {
  // Keys that are neither read nor touched on either side, with all below them; in any case.
  std::vector<profile::KeyPath> leave_out;
  // Whether the system keeps security and classes of keys. Where it does not, the file's stay, and a key that
  // programs made gets its parent's.
  bool security = false;
};

// Whether a key is one of these or below one.
bool is_below_any(const profile::KeyPath& key, const std::vector<profile::KeyPath>& tops);

// Makes the file hold what the hive does. Keys' times come from the hive where something else has changed.
// Returns whether anything had; the caller finishes the editor. A key that is deleted meanwhile counts as
// deleted; depth is bounded by profile::kMaxKeyDepth.
Result<bool> capture_hive(LoadedHive& hive, registry::Editor& file, const TransferOptions& options);

// Makes the hive hold what the file does.
Result<void> restore_hive(const registry::Hive& file, LoadedHive& hive, const TransferOptions& options);

// Takes everything out of the hive that is not left out.
Result<void> clear_hive(LoadedHive& hive, const TransferOptions& options);

}  // namespace roamstead::agent
