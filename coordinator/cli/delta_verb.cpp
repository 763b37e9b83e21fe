#include "coordinator/cli/verbs.h"

namespace roamstead::cli {

void add_delta_verb(CLI::App&, Context&) {}

}  // namespace roamstead::cli
