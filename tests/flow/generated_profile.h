// A synthetic Windows profile that follows wholly from its seed: caches, settings, documents, databases;
// names in many languages; alternate streams.
#pragma once

#include <random>

#include "tests/flow/profile_model.h"

namespace roamstead::flow {

using Random = std::mt19937_64;

// Paths of the generated profile that the flow changes by name.
inline constexpr const char* kDatabase = "AppData/Local/Contoso/Browser/User Data/Default/History";
inline constexpr const char* kMailStore = "AppData/Local/Contoso/Mailer/müller@example.com.store";
inline constexpr const char* kArchive = "Documents/Archive 2025";

// About `files` files, at least 100.
ProfileModel generate_profile(std::size_t files, Random& random);
Bytes random_bytes(std::size_t size, Random& random);
// Compressible, like settings and logs.
Bytes random_text(std::size_t size, Random& random);

}  // namespace roamstead::flow
