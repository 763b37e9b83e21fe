// A hive as plain maps: what tests compare the repository's with, and what their repositories in memory keep.
#pragma once

#include <map>

#include "common/base/text.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

class HiveModel {
 public:
  struct Value {
    std::string name;
    std::uint32_t type = 0;
    Bytes data;
    bool operator==(const Value&) const = default;
  };
  struct Key {
    std::string name;
    profile::KeyEntry entry;
    std::map<std::string, Value> values;  // by upcased name
    std::map<std::string, Key> subkeys;   // the same
    bool operator==(const Key&) const = default;
  };

  Key root;

  static std::string upcased(std::string_view name) { return to_wtf8(upcase_key(name)); }

  // Null when there is none.
  Key* find(const profile::KeyPath& path) {
    auto* key = &root;
    for (auto name : path.components()) {
      auto found = key->subkeys.find(upcased(name));
      if (found == key->subkeys.end()) return nullptr;
      key = &found->second;
    }
    return key;
  }
  const Key* find(const profile::KeyPath& path) const { return const_cast<HiveModel*>(this)->find(path); }

  void apply(const profile::DeleteKey& record) {
    if (auto* parent = find(record.key.parent())) parent->subkeys.erase(upcased(record.key.name()));
  }
  // False when the key has no parent to be in. `data` gives what is not inline.
  bool apply(const profile::PutKey& record, const std::function<Bytes(std::size_t value)>& data) {
    auto* parent = find(record.key.parent());
    if (parent == nullptr) return false;
    const bool is_root = record.key.is_root();
    const bool there = is_root || parent->subkeys.count(upcased(record.key.name())) != 0;
    auto& key = is_root ? root : parent->subkeys[upcased(record.key.name())];
    if (there && record.merge) {
      key.entry.written_100ns = record.entry.written_100ns;
    } else {
      key.name = std::string(record.key.name());
      key.entry = record.entry;
    }
    for (std::size_t i = 0; i < record.values.size(); ++i) {
      const auto& value = record.values[i];
      key.values[upcased(value.name)] = {value.name, value.type, value.is_inline() ? value.data : data(i)};
    }
    for (const auto& name : record.deleted_values) key.values.erase(upcased(name));
    return true;
  }

  static profile::RegistryValue shown(const Value& value) {
    profile::RegistryValue made{value.name, value.type, value.data.size(), {}};
    if (made.is_inline()) made.data = value.data;
    return made;
  }
  static profile::KeyState shown(const profile::KeyPath& path, const Key& key, bool complete) {
    profile::KeyState state{path, key.entry, complete, {}};
    if (complete)
      for (const auto& [name, value] : key.values) state.values.push_back(shown(value));
    return state;
  }
  // What Tree::keys answers, in one part.
  Result<profile::KeyStates> keys(const profile::KeyPath& path, profile::KeyScope scope) const {
    const auto* key = find(path);
    if (key == nullptr) return fail(ErrorCode::not_found, "no key '" + path.text() + "'");
    profile::KeyStates states;
    add(path, *key, scope == profile::KeyScope::key ? 1 : -1, states);
    return states;
  }

 private:
  // `levels` below the key are known by their entries; -1: everything is complete.
  static void add(const profile::KeyPath& path, const Key& key, int levels, profile::KeyStates& states) {
    states.keys.push_back(shown(path, key, levels != 0));
    if (levels == 0) return;
    for (const auto& [name, subkey] : key.subkeys)
      add(path.child(subkey.name), subkey, levels - (levels > 0 ? 1 : 0), states);
  }
};

}  // namespace roamstead::repository
