// Hives in tests, as the model sees them.
#pragma once

#include "common/registry/check.h"
#include "common/registry/hive.h"
#include "tests/support/key_model.h"

namespace roamstead::agent::testing {

// What a hive's bytes hold. Throws when the hive is not sound.
support::KeyModel model_of_hive(ByteView bytes);
// Keys, values, classes and security (where `security`), times left aside; "" when equal, else what differs
// first.
std::string difference(const support::KeyModel& expected, const support::KeyModel& actual, bool security);

}  // namespace roamstead::agent::testing
