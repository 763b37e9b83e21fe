// The keys of a hive in memory for tests: what records of keys mean, in the most straightforward way.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/profile/registry.h"
#include "common/registry/hive.h"

namespace roamstead::extract {

struct TestValue {
  std::string name;
  std::uint32_t type = 0;
  Bytes data;
};

struct TestKey {
  profile::KeyPath path;
  profile::KeyEntry entry;
  std::map<std::string, TestValue> values;  // by upcased name
};

// Throws where something cannot be.
class TestKeys {
 public:
  using ReadValue = std::function<Bytes(std::size_t value)>;

  TestKeys() = default;     // no hive
  static TestKeys empty();  // with a root
  static TestKeys of(const registry::Hive& hive);

  bool has(const std::string& path) const;
  const TestKey& at(const std::string& path) const;
  TestKey& put(const std::string& path);  // made where missing; its parent must be there
  void set(const std::string& path, const std::string& name, std::uint32_t type, ByteView data);
  void erase(const std::string& path);  // with all below; nothing where there is none
  const std::map<std::string, TestKey>& keys() const { return keys_; }  // by upcased path

  void apply(const profile::DeleteKey& record) { erase(record.key.text()); }
  void apply(const profile::PutKey& record, const ReadValue& read);

  // A line for every key and value, times left out.
  void describe(const std::string& prefix, std::map<std::string, std::string>& lines) const;
  std::map<std::string, std::string> describe() const;

  // As the coordinator answers a desktop.
  std::vector<profile::KeyState> answer(const std::string& path, profile::KeyScope scope) const;

 private:
  std::map<std::string, TestKey> keys_;
};

// Lines that say where the two differ; empty: equal.
std::string difference(const TestKeys& expected, const TestKeys& actual);

}  // namespace roamstead::extract
