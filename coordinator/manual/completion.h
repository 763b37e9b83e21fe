// Shell completions from a program's command tree: commands, then options; where neither fits, files.
#pragma once

#include <string>

#include "coordinator/manual/command_tree.h"

namespace roamstead::manual {

std::string bash_completion(const Command& program);
std::string zsh_completion(const Command& program);
std::string fish_completion(const Command& program);

}  // namespace roamstead::manual
