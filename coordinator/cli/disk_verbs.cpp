#include "coordinator/cli/verbs.h"

namespace roamstead::cli {

void add_disk_verbs(CLI::App&, Context&) {}

}  // namespace roamstead::cli
