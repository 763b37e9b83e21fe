// toml++ without its assertions. Some of them fail for what a file may hold ("[#"), and what follows them is
// an error told in the usual way; in release builds it would take them for granted.
#pragma once

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ASSERT(expression) static_cast<void>(0)
#pragma push_macro("NDEBUG")
#undef NDEBUG
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")
