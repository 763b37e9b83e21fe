// Units that make a desktop a member of a domain, by each of the three routes, and give Setup its answers
// (docs/domain-join.md).
#pragma once

#include "coordinator/compose/units.h"

namespace roamstead::compose {

Result<void> common_join(const UnitContext& context, Edits& edits);
Result<void> own_join(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);

// The answer file of a generalised image: its Setup would make a name of its own.
Result<void> common_answer_file(const UnitContext& context, Edits& edits);
Result<void> own_answer_file(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);

}  // namespace roamstead::compose
