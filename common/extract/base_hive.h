// What a desktop got of a hive from the coordinator: a hive file of its own, beside the provenance journal
// and so in the same snapshot as the hive that programs use. It is to a hive what the journal is to files: it
// tells what was loaded, and what it was.
//
// A key whose last-written time is kPlaceholderTime is known by its entry alone (class, security): its values
// and subkeys are not here. Every other key is complete: all its values are here, and all its subkeys, at
// least as placeholders. (A key whose time really is 0 is given kEarliestTime.) A placeholder whose parent is
// not complete may be there only because something below it was loaded; then not even its entry is known.
//
// Laws:
//  1. The live hive gets a subtree first and is flushed; then the base hive gets the same and is flushed. A
//     crash in between costs records sent in vain, never a deletion nobody made.
//  2. Nothing is ever taken out of a base hive during a session.
//  3. What one answer of the coordinator tells of a key reaches the file at once: a complete key never stands
//     there without its subkeys.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/guid.h"
#include "common/profile/path.h"
#include "common/profile/registry.h"
#include "common/registry/editor.h"

namespace roamstead::extract {

inline constexpr std::uint64_t kPlaceholderTime = 0;
inline constexpr std::uint64_t kEarliestTime = 1;

// Path on the volume: "<directory of the journal>/registry/<session>-<hive>.base". `hive` is one of
// profile::hive_paths(), in any case.
std::string base_hive_path(std::string_view provenance_path, const Guid& session,
                           const profile::ProfilePath& hive);

// Nothing is loaded yet: the root is a placeholder.
Result<registry::Editor> create_base_hive();

// Gives the data of a value that is not inline, all size_bytes of it.
using ValueReader =
    std::function<Result<Bytes>(const profile::KeyPath& key, const profile::RegistryValue& value)>;

// Adds what the coordinator answered, in any order. Parents that are missing become placeholders; a key that
// is complete already stays as it is. On an error some keys may have been added, but each of them whole. The
// caller finishes the editor and writes what is dirty.
Result<void> add_to_base_hive(registry::Editor& base, const std::vector<profile::KeyState>& keys,
                              const ValueReader& read_value);

inline bool is_complete(const registry::Key& base_key) { return base_key.written_100ns != kPlaceholderTime; }

}  // namespace roamstead::extract
