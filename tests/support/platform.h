// What tests must know of the system they run on.
#pragma once

#include <string>

namespace roamstead::support {

// Of this process, all its threads, kernel and user.
double processor_seconds();

// Windows as Wine has it: some of Windows is not there, or pretends. Tests of that say that they are skipped.
bool is_wine();
bool is_windows();

}  // namespace roamstead::support
