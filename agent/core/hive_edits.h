// A loaded hive as the agent's loader edits it: what is changed is kept here, and reaches programs with
// save().
//
// A registry has no transactions that one could use, so "whole or not at all" is kept as far as it goes:
// before anything is changed every key concerned is looked at again, and when one was changed since (its time
// says so), deleted, or made in the meantime, nothing is done and save() answers ErrorCode::conflict. A
// program that changes the same key between that look and the change, a few microseconds later, is not
// noticed; the programs that the loader holds up until the key is there cannot. When the system refuses a
// change in the middle, what was done before it stays: that is more than the base hive tells of, which costs
// records sent in vain (law 1 of base_hive.h).
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <variant>

#include "agent/core/loaded_hive.h"
#include "agent/core/registry_port.h"

namespace roamstead::agent {

class HiveEdits final : public MountedHive {
 public:
  struct Host {
    // The hive's file, which gets the same changes when they are saved; null where it follows by itself.
    std::function<Result<std::unique_ptr<MountedHive>>()> mount_file;
    // What the hive's file is; asked when there is no mount_file.
    std::function<Result<extract::ItemIdentity>()> identity;
    // Keys that are not the hive's here (TransferOptions::leave_out): made in the file alone, and nothing is
    // in them ever, so that they are not loaded beyond their names.
    std::vector<profile::KeyPath> leave_out;
    std::shared_ptr<std::mutex> saving;  // held while anything is saved; null: nobody else does
  };
  HiveEdits(std::shared_ptr<LoadedHive> hive, Host host) : hive_(std::move(hive)), host_(std::move(host)) {
    nodes_.push_back({});
  }

  Result<Key> root() override { return Key{0}; }
  Result<std::optional<Key>> open(Key parent, const std::string& name) override;
  Result<Key> create(Key parent, const std::string& name, const profile::KeyEntry& entry) override;
  Result<void> set_entry(Key key, const profile::KeyEntry& entry) override;
  Result<bool> has_value(Key key, const std::string& name) override;
  Result<void> set_value(Key key, const std::string& name, std::uint32_t type, ByteView data) override;
  Result<void> delete_key(Key key) override;
  Result<void> delete_value(Key key, const std::string& name) override;
  Result<Listing> enumerate(Key key) override;
  Result<extract::ItemIdentity> save() override;

 private:
  struct Node {
    profile::KeyPath path;
    bool made = false;  // here, and not in the registry yet
    bool gone = false;
    bool left_out = false;
    std::optional<std::uint64_t> written_100ns;    // of a key that is there, when it was looked at first
    std::map<std::u16string, Key> children;        // by upcased name: those that were opened, made or deleted
    std::map<std::u16string, std::string> values;  // by upcased name: set here
    std::set<std::u16string> deleted_values;
  };
  struct Create {
    profile::KeyPath key;
    profile::KeyEntry entry;
  };
  struct SetEntry {
    profile::KeyPath key;
    profile::KeyEntry entry;
  };
  struct SetValue {
    profile::KeyPath key;
    LoadedHive::Value value;
  };
  struct DeleteKey {
    profile::KeyPath key;
  };
  struct DeleteValue {
    profile::KeyPath key;
    std::string name;
  };
  using Change = std::variant<Create, SetEntry, SetValue, DeleteKey, DeleteValue>;

  Result<Node*> node(Key key);
  bool is_left_out(const profile::KeyPath& path) const;
  Result<void> look_at(Node& node);
  Result<void> check_unchanged();
  Result<void> apply(const Change& change);
  static Result<void> apply_to_file(const Change& change, MountedHive& file);
  static Result<std::optional<Key>> key_in_file(MountedHive& file, const profile::KeyPath& path, bool make);

  const std::shared_ptr<LoadedHive> hive_;
  const Host host_;
  std::vector<Node> nodes_;  // a Key is a place in it; the first is the root
  std::vector<Change> changes_;
};

}  // namespace roamstead::agent
