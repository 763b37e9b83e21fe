// What a desktop got of a hive from the coordinator: a hive file of its own, beside the provenance journal
// and so in the same snapshot as the hive that programs use. It is to a hive what the journal is to files: it
// tells what was loaded, and what it was.
//
// A key whose last-written time is kPlaceholderTime is known by its entry alone (class, security): its values
// and subkeys are not here. Every other key is complete: all its values are here, and all its subkeys, at
// least as placeholders. (A key whose time really is 0 is given kEarliestTime.)
//
// Laws:
//  1. The live hive gets a subtree first and is flushed; then the base hive gets the same and is flushed. A
//     crash in between costs records sent in vain, never a deletion nobody made.
//  2. Nothing is ever taken out of a base hive during a session.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/guid.h"
#include "common/profile/path.h"

namespace roamstead::extract {

inline constexpr std::uint64_t kPlaceholderTime = 0;
inline constexpr std::uint64_t kEarliestTime = 1;

// Path on the volume: "<directory of the journal>/registry/<session>-<hive>.base". `hive` is one of
// profile::hive_paths(), in any case.
std::string base_hive_path(std::string_view provenance_path, const Guid& session,
                           const profile::ProfilePath& hive);

}  // namespace roamstead::extract
