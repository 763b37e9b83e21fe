// Starting programs with the hook in them.
#pragma once

#include <string>

#include "agent/win/intercept/windows_parts.h"

namespace roamstead::agent {

// Hooks this process itself: whatever it starts from now on carries the hook too. Not for the service.
// ErrorCode::unsupported when nothing could be intercepted.
Result<void> hook_this_process(const std::string& library);

// Of a process whose first thread was made suspended and has not run: it loads the library before its entry
// point. For 64-bit processes; others and protected ones refuse.
Result<void> inject(HANDLE process, HANDLE thread, const std::string& library);

// LoadLibraryW's address in 32-bit programs, one for all until Windows starts anew: a program of Windows' own
// that loads `library`, roamstead-hook32.dll's path, says it. 0: there is no such library, or no such
// programs. Waits 10 s at most.
std::uint32_t load_library_of_32_bits(const std::string& library);

// Runs a command line to its end with the hook in it; its exit status. `library` is roamstead-hook.dll's
// path.
Result<unsigned long> run_hooked(const std::string& command_line, const std::string& library);

}  // namespace roamstead::agent
