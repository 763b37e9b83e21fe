#include "coordinator/cli/verbs.h"

namespace roamstead::cli {

void add_volume_verbs(CLI::App&, Context&) {}

}  // namespace roamstead::cli
