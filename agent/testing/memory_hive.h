// A loaded hive in memory, with a clock that goes on by one with each change.
#pragma once

#include <functional>

#include "agent/core/loaded_hive.h"
#include "tests/support/key_model.h"

namespace roamstead::agent::testing {

class MemoryHive final : public LoadedHive {
 public:
  support::KeyModel model;
  std::uint64_t now_100ns = 1000;
  std::uint64_t flushes = 0;
  // Called before each change: a test's program may do something there, or the system refuse it.
  std::function<Result<void>()> before_change;

  Result<std::uint64_t> written(const profile::KeyPath& key) override {
    RS_TRY(const auto* node, find(key));
    return node->entry.written_100ns;
  }
  Result<Content> read(const profile::KeyPath& key, bool security) override;
  Result<bool> has_value(const profile::KeyPath& key, const std::string& name) override {
    RS_TRY(const auto* node, find(key));
    return node->values.count(support::KeyModel::upcased_name(name)) != 0;
  }
  Result<void> create(const profile::KeyPath& key, const profile::KeyEntry& entry) override;
  Result<void> set_security(const profile::KeyPath& key, ByteView descriptor) override;
  Result<void> set_written(const profile::KeyPath& key, std::uint64_t time_100ns) override {
    RS_TRY([[maybe_unused]] const auto* node, find(key));
    model.at(key).entry.written_100ns = time_100ns;
    return {};
  }
  Result<void> set_value(const profile::KeyPath& key, const std::string& name, std::uint32_t type,
                         ByteView data) override;
  Result<void> delete_key(const profile::KeyPath& key) override;
  Result<void> delete_value(const profile::KeyPath& key, const std::string& name) override;
  Result<void> flush() override {
    ++flushes;
    return {};
  }

 private:
  Result<const support::KeyModel::Node*> find(const profile::KeyPath& key) const;
  Result<void> change(const profile::KeyPath& key);
};

}  // namespace roamstead::agent::testing
