// Puts the hook's functions in the place of ntdll's.
//
// Trampolines are ordinary code of this image, written when it was built: they do what the copied beginning
// of a stub does, with the number of the system call from a table, and jump to the stub's rest. So nothing is
// executed that was not in the file, and no page is made executable; ntdll's own is writable for a moment.
//
// A patch is one atomic exchange. On 64 bit a thread could stand within the exchanged bytes: all others are
// stopped meanwhile, and looked at; while one stands there nothing is patched. On 32 bit whoever stands
// between the two exchanged instructions goes on unharmed (stub_layout.h).
#pragma once

#include <cstdint>

#include "agent/hook/native.h"

namespace roamstead::hook {

// What became of each function, as bits 1 << HookIndex; for tests and diagnosis.
struct PatchReport {
  std::uint32_t patched = 0;
  std::uint32_t absent = 0;   // this Windows has none
  std::uint32_t unknown = 0;  // it looks unlike any stub that is known: left alone
  std::uint32_t refused = 0;  // memory could not be made writable, or a thread did not leave
};
extern PatchReport patch_report;

// `replacements`: of HookIndex. May be called once.
void patch_all(void* const (&replacements)[kHookCount]);

}  // namespace roamstead::hook
