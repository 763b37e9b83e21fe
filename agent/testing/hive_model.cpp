#include "agent/testing/hive_model.h"

#include <stdexcept>

namespace roamstead::agent::testing {

using profile::KeyPath;
using support::KeyModel;

namespace {

class Taker final : public registry::TreeVisitor {
 public:
  Taker(const registry::Hive& hive, KeyModel& model) : hive_(hive), model_(model) {}
  bool enter(const registry::Key& key, const std::string& path, std::uint32_t) override {
    auto& node = model_.at(KeyPath::parse(path).value());
    node.entry.class_name = to_bytes(hive_.class_name(key).value());
    node.entry.security = to_bytes(hive_.security(key).value());
    node.entry.written_100ns = key.written_100ns;
    return true;
  }
  void value(const registry::Key&, const std::string& path, const registry::Value& value,
             ByteView data) override {
    model_.set_value(KeyPath::parse(path).value(), value.name.to_wtf8(), value.type, to_bytes(data));
  }
  void defect(registry::Defect defect) override { throw std::runtime_error(defect.to_string()); }

 private:
  const registry::Hive& hive_;
  KeyModel& model_;
};

}  // namespace

KeyModel model_of_hive(ByteView bytes) {
  auto hive = registry::Hive::open(bytes, "hive").value();
  if (hive.base().dirty()) throw std::runtime_error("the hive is dirty");
  if (const auto report = registry::check(hive); !report.sound())
    throw std::runtime_error(report.defects.front().to_string());
  KeyModel model;
  Taker taker(hive, model);
  hive.walk(hive.root().value(), taker);
  return model;
}

std::string difference(const KeyModel& expected, const KeyModel& actual, bool security) {
  for (const auto& [place, node] : expected.nodes()) {
    const auto* other = actual.find(node.path);
    const auto name = "key '" + node.path.text() + "'";
    if (other == nullptr) return name + " is missing";
    if (node.values != other->values) {
      for (const auto& [key, value] : node.values)
        if (other->values.count(key) == 0) return name + " lacks value '" + value.name + "'";
      for (const auto& [key, value] : other->values)
        if (node.values.count(key) == 0) return name + " has value '" + value.name + "'";
      return name + " has another value";
    }
    if (node.entry.class_name != other->entry.class_name) return name + " has another class";
    if (security && node.entry.security != other->entry.security) return name + " has another security";
  }
  for (const auto& [place, node] : actual.nodes())
    if (expected.find(node.path) == nullptr) return "key '" + node.path.text() + "' is there";
  return "";
}

}  // namespace roamstead::agent::testing
