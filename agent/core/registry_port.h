// How the agent puts keys into the hives that programs use. Implementations: agent/core/hive_file_port (a
// hive file on the profile's volume, edited while nobody has it mounted); agent/win/registry (the
// registry itself, once the hive is loaded for programs).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/extract/provenance.h"
#include "common/profile/entry.h"
#include "common/profile/registry.h"

namespace roamstead::agent {

// One hive, mounted for the agent. Names are WTF-8 and compare without regard to case. What is changed
// reaches the hive that programs see with save() and not before, whole or not at all. Times of keys that are
// there stay as they are, where the port can keep them. Not thread-safe.
class MountedHive {
 public:
  using Key = std::uint64_t;  // until it is deleted or the hive goes
  struct Listing {
    std::vector<std::string> subkeys;
    std::vector<std::string> values;
  };
  virtual ~MountedHive() = default;

  virtual Result<Key> root() = 0;
  virtual Result<std::optional<Key>> open(Key parent, const std::string& name) = 0;
  // ErrorCode::exists when it is there.
  virtual Result<Key> create(Key parent, const std::string& name, const profile::KeyEntry& entry) = 0;
  // Class and security; an empty descriptor leaves the key's.
  virtual Result<void> set_entry(Key key, const profile::KeyEntry& entry) = 0;
  virtual Result<bool> has_value(Key key, const std::string& name) = 0;
  // Creates or replaces.
  virtual Result<void> set_value(Key key, const std::string& name, std::uint32_t type, ByteView data) = 0;
  virtual Result<void> delete_key(Key key) = 0;  // with everything below it; not the root
  virtual Result<void> delete_value(Key key, const std::string& name) = 0;
  virtual Result<Listing> enumerate(Key key) = 0;

  // Durable when it returns: the item that the hive's file is now. ErrorCode::conflict when somebody else has
  // changed the hive since it was mounted: nothing is saved, mount it again.
  virtual Result<extract::ItemIdentity> save() = 0;
};

// Thread-safe. Paths are those of a ProfileVolume.
class RegistryPort {
 public:
  virtual ~RegistryPort() = default;

  // `file` is what the hive's file is made to look like where it must be written anew. ErrorCode::not_found
  // when it is not there, corrupt when it cannot be brought to a clean state.
  virtual Result<std::unique_ptr<MountedHive>> mount(const std::string& path, const profile::Entry& file) = 0;
  // A hive that has nothing but a root key; it is there once it is saved. ErrorCode::exists then, when the
  // name is taken.
  virtual Result<std::unique_ptr<MountedHive>> make(const std::string& path, const profile::Entry& file,
                                                    const profile::KeyEntry& root) = 0;
  // Brings to the hives' files what programs have changed in hives that are mounted for them. Before a
  // snapshot, once before programs are held and once while they are; where the files are all there is, it
  // does nothing.
  virtual Result<void> flush() { return {}; }
};

}  // namespace roamstead::agent
