// Security descriptors as systems give them back: the same parts, in whatever order they lie.
#pragma once

#include "common/base/bytes.h"

namespace roamstead::agent {

// Whether two self-relative descriptors say the same of owner, group and access. System access lists are not
// compared: they are not brought to desktops, and are not always to be read. Damaged ones equal nothing but
// themselves.
bool says_the_same(ByteView one, ByteView other);

}  // namespace roamstead::agent
