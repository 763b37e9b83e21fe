#include "tests/support/key_model.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::support {

using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::KeyStates;

namespace {

bool is_within(const KeyModel::Place& place, const KeyModel::Place& top) {
  return place.size() >= top.size() && std::equal(top.begin(), top.end(), place.begin());
}

KeyState state_of(const KeyModel::Node& node, bool complete) {
  KeyState state{node.path, node.entry, complete, {}};
  if (!complete) return state;
  for (const auto& [key, value] : node.values) {
    profile::RegistryValue sent{value.name, value.type, value.data.size(), {}};
    if (sent.is_inline()) sent.data = value.data;
    state.values.push_back(std::move(sent));
  }
  return state;
}

std::size_t bytes_of(const KeyState& state) {
  std::size_t bytes =
      64 + state.path.text().size() + state.entry.class_name.size() + state.entry.security.size();
  for (const auto& value : state.values) bytes += 32 + value.name.size() + value.data.size();
  return bytes;
}

}  // namespace

std::string KeyModel::upcased_name(const std::string& name) { return to_wtf8(upcase_key(name)); }

KeyModel::Place KeyModel::place_of(const KeyPath& path) {
  Place place;
  for (auto name : path.components()) place.push_back(upcased_name(std::string(name)));
  return place;
}

KeyModel::Node& KeyModel::at(const KeyPath& path) {
  auto place = place_of(path);
  if (auto it = nodes_.find(place); it != nodes_.end()) return it->second;
  at(path.parent());
  auto& node = nodes_[place];
  node.path = at(path.parent()).path.child(path.name());
  return node;
}

const KeyModel::Node* KeyModel::find(const KeyPath& path) const {
  auto it = nodes_.find(place_of(path));
  return it == nodes_.end() ? nullptr : &it->second;
}

void KeyModel::set_value(const KeyPath& path, const std::string& name, std::uint32_t type, Bytes data) {
  auto& value = at(path).values[upcased_name(name)];
  if (value.name.empty()) value.name = name;
  value.type = type;
  value.data = std::move(data);
}

void KeyModel::erase_value(const KeyPath& path, const std::string& name) {
  at(path).values.erase(upcased_name(name));
}

void KeyModel::erase(const KeyPath& path) {
  auto top = place_of(path);
  for (auto it = nodes_.lower_bound(top); it != nodes_.end() && is_within(it->first, top);)
    it = nodes_.erase(it);
}

Result<KeyStates> KeyModel::states(const KeyPath& key, KeyScope scope, const std::string& cursor,
                                   std::size_t limit_bytes) const {
  const auto top = place_of(key);
  if (nodes_.count(top) == 0) return fail(ErrorCode::not_found, "no key '" + key.text() + "'");
  if (scope == KeyScope::subtree_if_small) {
    RS_TRY(auto all, states(key, KeyScope::subtree, "", limit_bytes));
    if (all.next.empty()) return all;
    scope = KeyScope::key;
  }
  auto it = nodes_.lower_bound(top);
  if (!cursor.empty()) {
    RS_TRY(auto after, KeyPath::parse(cursor));
    it = nodes_.upper_bound(place_of(after));
  }
  KeyStates part;
  std::size_t bytes = 0;
  std::string last;
  for (; it != nodes_.end() && is_within(it->first, top); ++it) {
    if (scope == KeyScope::key && it->first.size() > top.size() + 1) continue;
    auto state = state_of(it->second, scope == KeyScope::subtree || it->first.size() == top.size());
    bytes += bytes_of(state);
    if (bytes > limit_bytes && !part.keys.empty()) {
      // The root's path is no cursor; what follows it is asked for after nothing comes before it.
      part.next = part.keys.back().path.text();
      if (!part.next.empty()) return part;
    }
    part.keys.push_back(std::move(state));
  }
  part.next.clear();
  return part;
}

Result<void> KeyModel::read_value(const KeyPath& key, const std::string& value, std::uint64_t offset,
                                  MutableByteView out) const {
  const auto* node = find(key);
  if (node == nullptr) return fail(ErrorCode::not_found, "no key '" + key.text() + "'");
  auto it = node->values.find(upcased_name(value));
  if (it == node->values.end()) return fail(ErrorCode::not_found, "no value '" + value + "'");
  const auto& data = it->second.data;
  if (offset > data.size() || out.size() > data.size() - offset)
    return fail(ErrorCode::invalid_argument, "beyond the end of value '" + value + "'");
  std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
  return {};
}

Result<void> KeyModel::apply(const profile::Batch& batch, const profile::ProfilePath& hive,
                             profile::ContentSource& content) {
  std::map<Place, std::size_t> puts;  // parents first
  for (std::size_t index = 0; index < batch.records.size(); ++index) {
    if (const auto* gone = std::get_if<profile::DeleteKey>(&batch.records[index]);
        gone != nullptr && gone->hive == hive) {
      if (find(gone->key) == nullptr) return fail(ErrorCode::not_found, "no key '" + gone->key.text() + "'");
      erase(gone->key);
    } else if (const auto* record = std::get_if<profile::PutKey>(&batch.records[index]);
               record != nullptr && record->hive == hive) {
      puts[place_of(record->key)] = index;
    }
  }
  for (const auto& [place, index] : puts)
    RS_CHECK(put(std::get<profile::PutKey>(batch.records[index]), index, content));
  return {};
}

Result<void> KeyModel::put(const profile::PutKey& record, std::size_t index,
                           profile::ContentSource& content) {
  if (find(record.key.parent()) == nullptr)
    return fail(ErrorCode::invalid_argument, "no parent of '" + record.key.text() + "'");
  const bool there = find(record.key) != nullptr;
  auto& node = at(record.key);
  if (!there || !record.merge) node.entry = record.entry;
  for (std::size_t i = 0; i < record.values.size(); ++i) {
    const auto& value = record.values[i];
    auto data = value.data;
    if (!value.is_inline()) {
      data.resize(static_cast<std::size_t>(value.size_bytes));
      RS_CHECK(content.read(index, i, 0, data));
    }
    set_value(record.key, value.name, value.type, std::move(data));
  }
  for (const auto& name : record.deleted_values) erase_value(record.key, name);
  return {};
}

}  // namespace roamstead::support
