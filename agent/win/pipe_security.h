// Who may open the agent's control pipe. In a header of its own, portable, because Wine enforces none of it:
// a test reads it.
#pragma once

namespace roamstead::agent {

// SYSTEM and Administrators: all. Everybody who is logged on (AU): read and write, without the right to make
// instances of the pipe (0x12019b is FILE_GENERIC_READ | FILE_GENERIC_WRITE but FILE_CREATE_PIPE_INSTANCE).
// Nobody from the network (NU is denied first). Processes of low integrity may not write to it.
inline constexpr const char* kControlPipeSddl =
    "O:SYG:SYD:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;AU)";
// Folders of the agent: identity, change log, journal. Nobody but SYSTEM and Administrators.
inline constexpr const char* kFolderSddl = "O:SYG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

}  // namespace roamstead::agent
