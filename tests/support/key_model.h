// A hive's tree in the plainest form: what registry code is compared with, and what coordinators in memory
// answer from.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/profile/batch.h"
#include "common/profile/registry.h"

namespace roamstead::support {

class KeyModel {
 public:
  using Place = std::vector<std::string>;  // upcased names: parents sort before what is below them
  struct Value {
    std::string name;
    std::uint32_t type = 0;
    Bytes data;
    bool operator==(const Value&) const = default;
  };
  struct Node {
    profile::KeyPath path;
    profile::KeyEntry entry;
    std::map<std::string, Value> values;  // by upcased name
  };

  KeyModel() { nodes_[{}]; }  // the root is always there

  // The key, made if it is not there, as are its parents.
  Node& at(const profile::KeyPath& path);
  const Node* find(const profile::KeyPath& path) const;
  void set_value(const profile::KeyPath& path, const std::string& name, std::uint32_t type, Bytes data);
  void erase_value(const profile::KeyPath& path, const std::string& name);
  void erase(const profile::KeyPath& path);  // with everything below it; not the root
  const std::map<Place, Node>& nodes() const { return nodes_; }

  // As repository::Tree answers.
  Result<profile::KeyStates> states(const profile::KeyPath& key, profile::KeyScope scope,
                                    const std::string& cursor, std::size_t limit_bytes) const;
  Result<void> read_value(const profile::KeyPath& key, const std::string& value, std::uint64_t offset,
                          MutableByteView out) const;
  // Makes the changes of keys of one hive (`hive`), as batch.h says.
  Result<void> apply(const profile::Batch& batch, const profile::ProfilePath& hive,
                     profile::ContentSource& content);

  static Place place_of(const profile::KeyPath& path);
  static std::string upcased_name(const std::string& name);

 private:
  Result<void> put(const profile::PutKey& record, std::size_t index, profile::ContentSource& content);

  std::map<Place, Node> nodes_;
};

}  // namespace roamstead::support
