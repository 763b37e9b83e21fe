// Who may speak to the service about a profile, and see its state map. Apart from Windows' headers, because a
// test reads it: Wine enforces none of it.
#pragma once

#include <string>

namespace roamstead::agent {

// The pipe. Nobody from the network; the system and administrators everything; everybody who is logged on,
// and programs in app containers, read and write, but not FILE_CREATE_PIPE_INSTANCE (0x12019b is
// FILE_GENERIC_READ | FILE_GENERIC_WRITE without it). Programs of low integrity may write too: they read
// profiles as well. That each user gets answers about his own profile only is the service's work.
inline constexpr const char* kInterceptPipeSddl =
    "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;AU)(A;;0x12019b;;;AC)S:(ML;;NW;;;LW)";

// The sections of a user's state map: he and his programs in app containers may map them for reading
// (0x5: SECTION_QUERY | SECTION_MAP_READ), nobody but the system and administrators for writing.
inline std::string state_map_sddl(const std::string& sid) {
  return "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x5;;;" + sid + ")(A;;0x5;;;AC)S:(ML;;NW;;;LW)";
}

}  // namespace roamstead::agent
