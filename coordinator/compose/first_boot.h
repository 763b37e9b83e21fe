// What a desktop runs once at its first start, before anybody logs on (docs/format-firstboot.md).
#pragma once

#include "coordinator/compose/edit.h"

namespace roamstead::compose {

struct UnitContext;

// On the Windows volume: the scripts, and steps.json, which names them in their order.
inline constexpr const char* kFirstBootFolder = "ProgramData/Roamstead/firstboot/";
inline constexpr int kFirstBootFormat = 1;

// Scripts, manifest and an empty state; nothing where no script is wanted.
Result<void> common_first_boot(const UnitContext& context, Edits& edits);

}  // namespace roamstead::compose
