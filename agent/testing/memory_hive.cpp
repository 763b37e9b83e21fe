#include "agent/testing/memory_hive.h"

namespace roamstead::agent::testing {

using profile::KeyPath;
using support::KeyModel;

Result<const KeyModel::Node*> MemoryHive::find(const KeyPath& key) const {
  const auto* node = model.find(key);
  if (node == nullptr) return fail(ErrorCode::not_found, "key '" + key.text() + "' is not there");
  return node;
}

// The key is there, and gets the time.
Result<void> MemoryHive::change(const KeyPath& key) {
  if (before_change) RS_CHECK(before_change());
  RS_TRY([[maybe_unused]] const auto* node, find(key));
  model.at(key).entry.written_100ns = ++now_100ns;
  return {};
}

Result<LoadedHive::Content> MemoryHive::read(const KeyPath& key, bool security) {
  RS_TRY(const auto* node, find(key));
  Content content;
  content.entry = node->entry;
  if (!security) content.entry.security.clear();
  for (const auto& [mark, value] : node->values)
    content.values.push_back({value.name, value.type, value.data});
  const auto place = KeyModel::place_of(key);
  for (const auto& [other, below] : model.nodes())
    if (other.size() == place.size() + 1 && std::equal(place.begin(), place.end(), other.begin()))
      content.subkeys.emplace_back(below.path.name());
  return content;
}

Result<void> MemoryHive::create(const KeyPath& key, const profile::KeyEntry& entry) {
  RS_TRY(const auto* above, find(key.parent()));
  const auto inherited = above->entry.security;
  if (find(key)) return fail(ErrorCode::exists, "key '" + key.text() + "' is there");
  RS_CHECK(change(key.parent()));
  auto& made = model.at(key).entry;
  made = entry;
  if (made.security.empty()) made.security = inherited;
  made.written_100ns = ++now_100ns;
  return {};
}

Result<void> MemoryHive::set_security(const KeyPath& key, ByteView descriptor) {
  RS_CHECK(change(key));
  model.at(key).entry.security = to_bytes(descriptor);
  return {};
}

Result<void> MemoryHive::set_value(const KeyPath& key, const std::string& name, std::uint32_t type,
                                   ByteView data) {
  RS_CHECK(change(key));
  model.set_value(key, name, type, to_bytes(data));
  return {};
}

Result<void> MemoryHive::delete_key(const KeyPath& key) {
  RS_TRY([[maybe_unused]] const auto* node, find(key));
  RS_CHECK(change(key.parent()));
  model.erase(key);
  return {};
}

Result<void> MemoryHive::delete_value(const KeyPath& key, const std::string& name) {
  RS_TRY(const bool there, has_value(key, name));
  if (!there) return fail(ErrorCode::not_found, "value '" + name + "' is not there");
  RS_CHECK(change(key));
  model.erase_value(key, name);
  return {};
}

}  // namespace roamstead::agent::testing
