// The configuration as text that can be read again: what is set and from where, and the commented file that
// `roamstead setup` writes.
#pragma once

#include <set>
#include <string>

#include "coordinator/config/loader.h"

namespace roamstead::config {

// Sections and keys with their values; behind each, as a comment, where it comes from. Only those that
// somebody set, or all.
std::string settings_text(const Loaded& loaded, bool all);
// Every key with its description; those named are set to their values here, the others stand as comments with
// what they are by default.
std::string commented_file(const Config& values, const std::set<std::string, std::less<>>& set);

}  // namespace roamstead::config
