// Units of log-on and profiles: who is logged on at the start, where profiles and their folders lie,
// policies.
#pragma once

#include "coordinator/compose/units.h"

namespace roamstead::compose {

// The password is an LSA secret, sealed as the machine's own is, and not a text in Winlogon.
Result<void> common_autologon(const UnitContext& context, Edits& edits);
Result<void> own_autologon(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);

Result<void> common_profiles(const UnitContext& context, Edits& edits);
Result<void> common_shell_folders(const UnitContext& context, Edits& edits);
Result<void> common_policy(const UnitContext& context, Edits& edits);

}  // namespace roamstead::compose
