#include "common/extract/test_keys.h"

#include <fmt/format.h>

#include <stdexcept>

#include "common/base/sha256.h"
#include "common/base/text.h"

namespace roamstead::extract {
namespace {

std::string upcased(std::string_view text) { return to_wtf8(upcase_key(text)); }

profile::KeyPath parsed(const std::string& path) {
  auto key = profile::KeyPath::parse(path);
  if (!key) throw std::runtime_error(key.error().to_string());
  return std::move(*key);
}

bool is_below(const std::string& path, const std::string& top) {
  return path.size() > top.size() && path.compare(0, top.size(), top) == 0 &&
         (top.empty() || path[top.size()] == '\\');
}

class Reader final : public registry::TreeVisitor {
 public:
  explicit Reader(const registry::Hive& hive, TestKeys& keys) : hive_(hive), keys_(keys) {}
  bool enter(const registry::Key& key, const std::string& path, std::uint32_t) override {
    auto& made = keys_.put(path);
    made.entry.class_name = to_bytes(hive_.class_name(key).value());
    made.entry.security = to_bytes(hive_.security(key).value());
    made.entry.written_100ns = key.written_100ns;
    return true;
  }
  void value(const registry::Key&, const std::string& path, const registry::Value& value,
             ByteView data) override {
    keys_.set(path, value.name.to_wtf8(), value.type, data);
  }
  void defect(registry::Defect defect) override { throw std::runtime_error(defect.to_string()); }

 private:
  const registry::Hive& hive_;
  TestKeys& keys_;
};

}  // namespace

TestKeys TestKeys::empty() {
  TestKeys keys;
  keys.put("");
  return keys;
}

TestKeys TestKeys::of(const registry::Hive& hive) {
  TestKeys keys;
  Reader reader(hive, keys);
  hive.walk(hive.root().value(), reader);
  return keys;
}

bool TestKeys::has(const std::string& path) const { return keys_.count(upcased(path)) != 0; }

const TestKey& TestKeys::at(const std::string& path) const {
  const auto found = keys_.find(upcased(path));
  if (found == keys_.end()) throw std::runtime_error("no key '" + path + "'");
  return found->second;
}

TestKey& TestKeys::put(const std::string& path) {
  const auto key = parsed(path);
  if (!key.is_root() && !has(key.parent().text()))
    throw std::runtime_error("key '" + path + "' has no parent");
  auto& made = keys_[upcased(path)];
  made.path = key;
  return made;
}

void TestKeys::set(const std::string& path, const std::string& name, std::uint32_t type, ByteView data) {
  const auto found = keys_.find(upcased(path));
  if (found == keys_.end()) throw std::runtime_error("no key '" + path + "' for value '" + name + "'");
  found->second.values[upcased(name)] = {name, type, to_bytes(data)};
}

void TestKeys::erase(const std::string& path) {
  const auto top = upcased(path);
  std::erase_if(keys_, [&](const auto& key) { return key.first == top || is_below(key.first, top); });
}

void TestKeys::apply(const profile::PutKey& record, const ReadValue& read) {
  const auto& path = record.key.text();
  const bool there = has(path);
  auto& key = put(path);
  if (there && record.merge) {
    key.entry.written_100ns = record.entry.written_100ns;
  } else {
    key.entry = record.entry;
  }
  for (std::size_t i = 0; i < record.values.size(); ++i) {
    const auto& value = record.values[i];
    set(path, value.name, value.type, value.is_inline() ? value.data : read(i));
  }
  for (const auto& name : record.deleted_values) key.values.erase(upcased(name));
}

void TestKeys::describe(const std::string& prefix, std::map<std::string, std::string>& lines) const {
  for (const auto& [path, key] : keys_) {
    const auto at = prefix + "\\" + path;
    lines[at] = fmt::format("class {} security {:x}", key.entry.class_name.size(),
                            load_le<std::uint64_t>(sha256(key.entry.security)));
    for (const auto& [name, value] : key.values)
      lines[at + " '" + name + "'"] = fmt::format("type {} {} bytes {:x}", value.type, value.data.size(),
                                                  load_le<std::uint64_t>(sha256(value.data)));
  }
}

std::map<std::string, std::string> TestKeys::describe() const {
  std::map<std::string, std::string> lines;
  describe("", lines);
  return lines;
}

std::vector<profile::KeyState> TestKeys::answer(const std::string& path, profile::KeyScope scope) const {
  std::vector<profile::KeyState> states;
  const auto top = upcased(path);
  for (const auto& [at, key] : keys_) {
    const bool below = is_below(at, top);
    const bool child = below && at.find('\\', top.empty() ? 0 : top.size() + 1) == std::string::npos;
    if (at != top && (!below || (scope == profile::KeyScope::key && !child))) continue;
    profile::KeyState state{key.path, key.entry, at == top || scope != profile::KeyScope::key, {}};
    if (state.complete)
      for (const auto& [name, value] : key.values) {
        profile::RegistryValue made{value.name, value.type, value.data.size(), {}};
        if (made.is_inline()) made.data = value.data;
        state.values.push_back(std::move(made));
      }
    states.push_back(std::move(state));
  }
  return states;
}

std::string difference(const TestKeys& expected, const TestKeys& actual) {
  const auto a = expected.describe(), b = actual.describe();
  std::string text;
  for (const auto& [at, line] : a) {
    const auto other = b.find(at);
    if (other == b.end())
      text += "missing: " + at + "\n";
    else if (other->second != line)
      text += "differs: " + at + "\n  expected " + line + "\n  actual   " + other->second + "\n";
  }
  for (const auto& [at, line] : b)
    if (a.count(at) == 0) text += "too many: " + at + "\n";
  return text;
}

}  // namespace roamstead::extract
