// Where programs' calls with a name of a file come in. Nearly all are about names outside of the profile:
// these are told by ScopeFilter and jump to the trampoline with their arguments where they lie, as if the
// hook were not there. What does not pass goes to roamstead_closely_..., which looks at names closely.
//
// On 64 bit these are written in assembler: compilers save up to eleven arguments and write them back, even
// where they are only passed on.
#pragma once

#if defined(__x86_64__)

#include "agent/hook/scope_filter.h"

extern "C" {

// Null as long as there is no map: everything is looked at closely. Set with current_map.
extern std::atomic<const roamstead::hook::ScopeFilter*> roamstead_filter;

// To be patched in; of the functions' own types.
extern const char roamstead_enter_create_file[], roamstead_enter_open_file[],
    roamstead_enter_query_attributes[], roamstead_enter_query_full_attributes[],
    roamstead_enter_query_by_name[];
}

#endif
