// The home of the precompiled headers; see roamstead.cmake.
