// A hive that the system has mounted for programs, which use it at the same time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/profile/registry.h"

namespace roamstead::agent {

// Keys by their paths from the hive's root; names are WTF-8 and compare without regard to case. What is made
// or set is there for programs at once. ErrorCode::not_found when the key is not there (any more).
class LoadedHive {
 public:
  struct Value {
    std::string name;  // "" is the default value
    std::uint32_t type = 0;
    Bytes data;
  };
  struct Content {
    profile::KeyEntry entry;  // security may be empty: not asked for, or none is kept
    std::vector<std::string> subkeys;
    std::vector<Value> values;
  };
  virtual ~LoadedHive() = default;

  // When the key was last changed, 100 ns since 1601.
  virtual Result<std::uint64_t> written(const profile::KeyPath& key) = 0;
  // All of it; keys that are volatile may be among the subkeys. `security`: whether that is wanted too.
  virtual Result<Content> read(const profile::KeyPath& key, bool security) = 0;
  virtual Result<bool> has_value(const profile::KeyPath& key, const std::string& name) = 0;
  // Its parent is there. ErrorCode::exists when it is there too. Without security in its entry it inherits.
  virtual Result<void> create(const profile::KeyPath& key, const profile::KeyEntry& entry) = 0;
  virtual Result<void> set_security(const profile::KeyPath& key, ByteView descriptor) = 0;
  // Does nothing where the system cannot.
  virtual Result<void> set_written(const profile::KeyPath& key, std::uint64_t time_100ns) = 0;
  // Creates or replaces.
  virtual Result<void> set_value(const profile::KeyPath& key, const std::string& name, std::uint32_t type,
                                 ByteView data) = 0;
  virtual Result<void> delete_key(const profile::KeyPath& key) = 0;  // with all below it; not the root
  virtual Result<void> delete_value(const profile::KeyPath& key, const std::string& name) = 0;
  // What was done so far survives a crash, where the system can promise that.
  virtual Result<void> flush() = 0;
};

}  // namespace roamstead::agent
