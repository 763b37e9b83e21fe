#include "agent/core/hive_edits.h"

#include <algorithm>

#include "agent/core/hive_transfer.h"
#include "common/base/text.h"

namespace roamstead::agent {

using profile::KeyPath;

Result<HiveEdits::Node*> HiveEdits::node(Key key) {
  if (key >= nodes_.size()) return fail(ErrorCode::internal, "no such key is open");
  auto& found = nodes_[static_cast<std::size_t>(key)];
  if (found.gone) return fail(ErrorCode::not_found, "key '" + found.path.text() + "' was deleted");
  return &found;
}

bool HiveEdits::is_left_out(const KeyPath& path) const { return is_below_any(path, host_.leave_out); }

// What is decided by what a key holds now is only done if it still holds it then.
Result<void> HiveEdits::look_at(Node& node) {
  if (node.made || node.written_100ns) return {};
  RS_TRY(node.written_100ns, hive_->written(node.path));
  return {};
}

Result<std::optional<MountedHive::Key>> HiveEdits::open(Key parent, const std::string& name) {
  RS_TRY(auto* above, node(parent));
  RS_CHECK(profile::check_key_name(name));
  const auto mark = upcase_key(name);
  if (const auto known = above->children.find(mark); known != above->children.end()) {
    if (nodes_[static_cast<std::size_t>(known->second)].gone) return std::optional<Key>();
    return std::optional<Key>(known->second);
  }
  if (above->made || is_left_out(above->path.child(name))) return std::optional<Key>();
  RS_CHECK(look_at(*above));
  Node found;
  found.path = above->path.child(name);
  const auto written = hive_->written(found.path);
  if (!written && written.error().code == ErrorCode::not_found) return std::optional<Key>();
  if (!written) return fail(written.error());
  found.written_100ns = *written;
  const Key key = nodes_.size();
  above->children[mark] = key;
  nodes_.push_back(std::move(found));
  return std::optional<Key>(key);
}

Result<MountedHive::Key> HiveEdits::create(Key parent, const std::string& name,
                                           const profile::KeyEntry& entry) {
  RS_TRY(const auto there, open(parent, name));
  if (there) return fail(ErrorCode::exists, "key '" + name + "' is there");
  RS_TRY(auto* above, node(parent));
  Node made;
  made.path = above->path.child(name);
  made.made = true;
  made.left_out = is_left_out(made.path);
  const Key key = nodes_.size();
  above->children[upcase_key(name)] = key;
  changes_.push_back(Create{made.path, entry});
  nodes_.push_back(std::move(made));
  return key;
}

Result<void> HiveEdits::set_entry(Key key, const profile::KeyEntry& entry) {
  RS_TRY(auto* at, node(key));
  RS_CHECK(look_at(*at));
  changes_.push_back(SetEntry{at->path, entry});
  return {};
}

Result<bool> HiveEdits::has_value(Key key, const std::string& name) {
  RS_TRY(auto* at, node(key));
  const auto mark = upcase_key(name);
  if (at->values.count(mark) != 0) return true;
  if (at->made || at->deleted_values.count(mark) != 0) return false;
  RS_CHECK(look_at(*at));
  return hive_->has_value(at->path, name);
}

Result<void> HiveEdits::set_value(Key key, const std::string& name, std::uint32_t type, ByteView data) {
  RS_TRY(auto* at, node(key));
  RS_CHECK(profile::check_value_name(name));
  RS_CHECK(look_at(*at));
  const auto mark = upcase_key(name);
  at->values[mark] = name;
  at->deleted_values.erase(mark);
  changes_.push_back(SetValue{at->path, {name, type, to_bytes(data)}});
  return {};
}

Result<void> HiveEdits::delete_key(Key key) {
  if (key == 0) return fail(ErrorCode::invalid_argument, "a hive's root cannot be deleted");
  RS_TRY(auto* at, node(key));
  RS_CHECK(look_at(*at));
  changes_.push_back(DeleteKey{at->path});
  // All that is known below it goes too, and is never looked at again.
  std::vector<Key> going{key};
  while (!going.empty()) {
    auto& gone = nodes_[static_cast<std::size_t>(going.back())];
    going.pop_back();
    gone.gone = true;
    for (const auto& [mark, child] : gone.children) going.push_back(child);
  }
  return {};
}

Result<void> HiveEdits::delete_value(Key key, const std::string& name) {
  RS_TRY(const bool there, has_value(key, name));
  if (!there) return fail(ErrorCode::not_found, "value '" + name + "' is not there");
  RS_TRY(auto* at, node(key));
  const auto mark = upcase_key(name);
  at->values.erase(mark);
  at->deleted_values.insert(mark);
  changes_.push_back(DeleteValue{at->path, name});
  return {};
}

Result<MountedHive::Listing> HiveEdits::enumerate(Key key) {
  RS_TRY(auto* at, node(key));
  Listing listing;
  if (!at->made) {
    RS_CHECK(look_at(*at));
    RS_TRY(auto content, hive_->read(at->path, false));
    for (auto& name : content.subkeys)
      if (at->children.count(upcase_key(name)) == 0) listing.subkeys.push_back(std::move(name));
    for (auto& value : content.values) {
      const auto mark = upcase_key(value.name);
      if (at->values.count(mark) == 0 && at->deleted_values.count(mark) == 0)
        listing.values.push_back(std::move(value.name));
    }
  }
  for (const auto& [mark, child] : at->children) {
    const auto& below = nodes_[static_cast<std::size_t>(child)];
    if (!below.gone) listing.subkeys.emplace_back(below.path.name());
  }
  for (const auto& [mark, name] : at->values) listing.values.push_back(name);
  return listing;
}

Result<void> HiveEdits::check_unchanged() {
  for (const auto& each : nodes_) {
    if (!each.made && !each.written_100ns) continue;
    if (each.left_out || (each.made && each.gone)) continue;
    const auto now = hive_->written(each.path);
    if (!now && now.error().code != ErrorCode::not_found) return fail(now.error());
    if (each.made ? now.has_value() : !now || *now != *each.written_100ns)
      return fail(ErrorCode::conflict, "key '" + each.path.text() + "' was changed since it was read");
  }
  return {};
}

Result<void> HiveEdits::apply(const Change& change) {
  if (std::visit([&](const auto& each) { return is_left_out(each.key); }, change)) return {};
  if (const auto* create = std::get_if<Create>(&change)) return hive_->create(create->key, create->entry);
  if (const auto* entry = std::get_if<SetEntry>(&change)) {
    // A key's class is what it was made with.
    return entry->entry.security.empty() ? Result<void>()
                                         : hive_->set_security(entry->key, entry->entry.security);
  }
  if (const auto* value = std::get_if<SetValue>(&change))
    return hive_->set_value(value->key, value->value.name, value->value.type, value->value.data);
  if (const auto* deleted = std::get_if<DeleteKey>(&change)) return hive_->delete_key(deleted->key);
  const auto& deleted = std::get<DeleteValue>(change);
  return hive_->delete_value(deleted.key, deleted.name);
}

Result<std::optional<MountedHive::Key>> HiveEdits::key_in_file(MountedHive& file, const KeyPath& path,
                                                               bool make) {
  RS_TRY(auto key, file.root());
  for (const auto component : path.components()) {
    const std::string name(component);
    RS_TRY(const auto next, file.open(key, name));
    if (!next && !make) return std::optional<Key>();
    if (next) {
      key = *next;
    } else {  // programs made it: the rest of it follows when their changes are saved
      RS_TRY(key, file.create(key, name, {}));
    }
  }
  return std::optional<Key>(key);
}

Result<void> HiveEdits::apply_to_file(const Change& change, MountedHive& file) {
  if (const auto* create = std::get_if<Create>(&change)) {
    RS_TRY(const auto above, key_in_file(file, create->key.parent(), true));
    const std::string name(create->key.name());
    RS_TRY(const auto there, file.open(*above, name));
    if (there) return file.set_entry(*there, create->entry);
    RS_TRY([[maybe_unused]] const auto made, file.create(*above, name, create->entry));
    return {};
  }
  if (const auto* entry = std::get_if<SetEntry>(&change)) {
    RS_TRY(const auto key, key_in_file(file, entry->key, true));
    return file.set_entry(*key, entry->entry);
  }
  if (const auto* value = std::get_if<SetValue>(&change)) {
    RS_TRY(const auto key, key_in_file(file, value->key, true));
    return file.set_value(*key, value->value.name, value->value.type, value->value.data);
  }
  if (const auto* deleted = std::get_if<DeleteKey>(&change)) {
    RS_TRY(const auto key, key_in_file(file, deleted->key, false));
    return key ? file.delete_key(*key) : Result<void>();
  }
  const auto& deleted = std::get<DeleteValue>(change);
  RS_TRY(const auto key, key_in_file(file, deleted.key, false));
  if (!key) return {};
  RS_TRY(const bool there, file.has_value(*key, deleted.name));
  return there ? file.delete_value(*key, deleted.name) : Result<void>();
}

Result<extract::ItemIdentity> HiveEdits::save() {
  std::unique_lock<std::mutex> lock;
  if (host_.saving) lock = std::unique_lock(*host_.saving);
  std::unique_ptr<MountedHive> file;
  if (host_.mount_file) {
    RS_TRY(file, host_.mount_file());
  }
  RS_CHECK(check_unchanged());
  for (const auto& change : changes_) RS_CHECK_CTX("putting keys into the registry", apply(change));
  // Loading changes nothing that programs did: keys that were there keep their times.
  for (auto& each : nodes_) {
    if (each.gone) continue;
    if (!each.made && each.written_100ns) RS_CHECK(hive_->set_written(each.path, *each.written_100ns));
    each.made = each.left_out;
    each.written_100ns.reset();
    each.values.clear();
    each.deleted_values.clear();
    std::erase_if(each.children,
                  [&](const auto& child) { return nodes_[static_cast<std::size_t>(child.second)].gone; });
  }
  const auto done = std::exchange(changes_, {});
  if (!file) {
    RS_CHECK(hive_->flush());
    return host_.identity();
  }
  for (const auto& change : done) RS_CHECK(apply_to_file(change, *file));
  return file->save();
}

}  // namespace roamstead::agent
