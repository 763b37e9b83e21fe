#include "coordinator/foreign/command.h"

namespace roamstead::foreign {

Result<CommandOutput> run_command(const std::vector<std::string>& arguments) {
  CommandOptions unbounded;
  unbounded.within.reset();
  return os::run_program(arguments, unbounded);
}

Result<CommandOutput> run_command(const std::vector<std::string>& arguments, const CommandOptions& options) {
  return os::run_program(arguments, options);
}

}  // namespace roamstead::foreign
