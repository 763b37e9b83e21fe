#include "tests/support/platform.h"

#include <ctime>

namespace roamstead::support {

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

bool is_wine() { return false; }
bool is_windows() { return false; }

}  // namespace roamstead::support
