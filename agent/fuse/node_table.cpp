#include "agent/fuse/node_table.h"

#include <algorithm>

namespace roamstead::agent {

NodeTable::NodeTable(std::string root_path, std::uint64_t root_record) : root_path_(std::move(root_path)) {
  nodes_[kRootNode].key = {root_record, ""};
  nodes_[kRootNode].references = 1;  // the mount itself
  by_key_[{root_record, ""}] = kRootNode;
}

NodeId NodeTable::remember(NodeId parent, const std::string& name, const NodeKey& key) {
  std::lock_guard lock(mutex_);
  if (auto shown = by_name_.find({parent, name}); shown != by_name_.end())
    settle_locked(shown->second, key.record);
  auto found = by_key_.find(key);
  NodeId id = found != by_key_.end() ? found->second : ++last_id_;
  if (found == by_key_.end()) {
    nodes_[id].key = key;
    by_key_[key] = id;
  }
  ++nodes_[id].references;
  Name full{parent, name};
  auto named = by_name_.find(full);
  if (named == by_name_.end() || named->second != id) {
    if (named != by_name_.end()) unname(full);
    attach(full, id);
  }
  return id;
}

NodeId NodeTable::remember_preview(NodeId parent, const std::string& name) {
  std::lock_guard lock(mutex_);
  Name full{parent, name};
  if (auto named = by_name_.find(full); named != by_name_.end()) {
    ++nodes_[named->second].references;
    return named->second;
  }
  NodeId id = ++last_id_;
  auto& node = nodes_[id];
  node.key = {kFirstPreviewRecord + id, ""};
  node.shown = node.key.record;
  node.references = 1;
  by_key_[node.key] = id;
  attach(full, id);
  return id;
}

void NodeTable::settle_locked(NodeId id, std::uint64_t record) {
  auto found = nodes_.find(id);
  if (found == nodes_.end() || !found->second.key.is_preview()) return;
  auto& node = found->second;
  by_key_.erase(node.key);
  open_records_.erase(node.key.record);
  node.key.record = record;
  if (node.open != 0) open_records_[record] += node.open;
  // Were another node to stand for the record already, that one stays what names of it lead to.
  if (!by_key_.emplace(node.key, id).second) node.detached = true;
}

void NodeTable::settle(NodeId id, std::uint64_t record) {
  std::lock_guard lock(mutex_);
  settle_locked(id, record);
}

void NodeTable::settle(NodeId parent, const std::string& name, std::uint64_t record) {
  std::lock_guard lock(mutex_);
  if (auto found = by_name_.find({parent, name}); found != by_name_.end())
    settle_locked(found->second, record);
}

std::optional<NodeId> NodeTable::parent(NodeId id) const {
  std::lock_guard lock(mutex_);
  auto found = nodes_.find(id);
  if (found == nodes_.end() || found->second.names.empty()) return std::nullopt;
  return found->second.names.front().first;
}

std::uint64_t NodeTable::shown_record(NodeId id) const {
  std::lock_guard lock(mutex_);
  auto found = nodes_.find(id);
  if (found == nodes_.end()) return 0;
  return found->second.shown != 0 ? found->second.shown : found->second.key.record;
}

std::optional<NodeTable::Place> NodeTable::place(NodeId id) const {
  std::lock_guard lock(mutex_);
  Place place;
  for (;;) {
    auto found = nodes_.find(id);
    if (found == nodes_.end()) return std::nullopt;
    if (!found->second.key.is_preview()) {
      place.node = id;
      place.record = found->second.key.record;
      break;
    }
    if (found->second.names.empty()) return std::nullopt;
    place.names.push_back(found->second.names.front().second);
    id = found->second.names.front().first;
  }
  std::reverse(place.names.begin(), place.names.end());
  return place;
}

void NodeTable::attach(const Name& name, NodeId node) {
  by_name_[name] = node;
  nodes_[node].names.push_back(name);
  ++nodes_[name.first].children;
}

void NodeTable::unname(const Name& name) {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  auto id = found->second;
  by_name_.erase(found);
  auto& names = nodes_[id].names;
  names.erase(std::remove(names.begin(), names.end(), name), names.end());
  --nodes_[name.first].children;
  drop_if_unused(id);
  drop_if_unused(name.first);
}

void NodeTable::drop_if_unused(NodeId id) {
  auto found = nodes_.find(id);
  if (found == nodes_.end() || id == kRootNode) return;
  auto& node = found->second;
  if (node.references != 0 || node.open != 0 || node.children != 0) return;
  auto names = node.names;
  if (!node.detached) by_key_.erase(node.key);
  nodes_.erase(found);
  for (auto& name : names) {
    by_name_.erase(name);
    if (auto parent = nodes_.find(name.first); parent != nodes_.end()) {
      --parent->second.children;
      drop_if_unused(name.first);  // as deep as the path: at most some thousand levels
    }
  }
}

void NodeTable::forget(NodeId id, std::uint64_t references) {
  std::lock_guard lock(mutex_);
  auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  found->second.references -= std::min(references, found->second.references);
  drop_if_unused(id);
}

void NodeTable::opened(NodeId id) {
  std::lock_guard lock(mutex_);
  auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  ++found->second.open;
  ++open_records_[found->second.key.record];
}

NodeTable::Closed NodeTable::closed(NodeId id) {
  std::lock_guard lock(mutex_);
  Closed result;
  auto found = nodes_.find(id);
  if (found == nodes_.end()) return result;
  result.record = found->second.key.record;
  --found->second.open;
  if (--open_records_[result.record] == 0) {
    open_records_.erase(result.record);
    if (auto grave = graveyard_.find(result.record); grave != graveyard_.end()) {
      result.last_of_removed = true;
      result.graveyard_path = grave->second;
      graveyard_.erase(grave);
      if (!found->second.detached) by_key_.erase(found->second.key);
      found->second.detached = true;
    }
  }
  drop_if_unused(id);
  return result;
}

bool NodeTable::is_open(std::uint64_t record) const {
  std::lock_guard lock(mutex_);
  return open_records_.count(record) != 0;
}

std::optional<std::string> NodeTable::path_locked(NodeId id) const {
  std::vector<const std::string*> parts;
  while (id != kRootNode) {
    auto found = nodes_.find(id);
    if (found == nodes_.end()) return std::nullopt;
    if (found->second.names.empty()) {
      auto grave = graveyard_.find(found->second.key.record);
      if (grave == graveyard_.end() || found->second.detached || !parts.empty()) return std::nullopt;
      return grave->second;
    }
    auto& name = found->second.names.front();
    parts.push_back(&name.second);
    id = name.first;
  }
  auto path = root_path_;
  for (auto it = parts.rbegin(); it != parts.rend(); ++it) path += "/" + **it;
  return path;
}

std::optional<std::string> NodeTable::path(NodeId node) const {
  std::lock_guard lock(mutex_);
  return path_locked(node);
}

std::optional<std::string> NodeTable::path(NodeId parent, const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto path = path_locked(parent);
  if (path) *path += "/" + name;
  return path;
}

std::optional<NodeKey> NodeTable::key(NodeId node) const {
  std::lock_guard lock(mutex_);
  auto found = nodes_.find(node);
  if (found == nodes_.end()) return std::nullopt;
  return found->second.key;
}

void NodeTable::renamed(NodeId old_parent, const std::string& old_name, NodeId new_parent,
                        const std::string& new_name) {
  std::lock_guard lock(mutex_);
  Name from{old_parent, old_name}, to{new_parent, new_name};
  auto found = by_name_.find(from);
  if (found == by_name_.end()) {
    unname(to);
    return;
  }
  auto id = found->second;
  unname(to);
  ++nodes_[id].references;  // not to go while it has no name
  unname(from);
  attach(to, id);
  --nodes_[id].references;
}

void NodeTable::exchanged(NodeId first_parent, const std::string& first, NodeId second_parent,
                          const std::string& second) {
  std::lock_guard lock(mutex_);
  Name a{first_parent, first}, b{second_parent, second};
  auto at_a = by_name_.find(a), at_b = by_name_.find(b);
  std::optional<NodeId> from_a, from_b;
  if (at_a != by_name_.end()) from_a = at_a->second;
  if (at_b != by_name_.end()) from_b = at_b->second;
  for (auto& id : {from_a, from_b})
    if (id) ++nodes_[*id].references;
  unname(a);
  unname(b);
  if (from_a) attach(b, *from_a);
  if (from_b) attach(a, *from_b);
  for (auto& id : {from_a, from_b})
    if (id) --nodes_[*id].references;
}

void NodeTable::removed(NodeId parent, const std::string& name) {
  std::lock_guard lock(mutex_);
  auto found = by_name_.find({parent, name});
  if (found == by_name_.end()) return;
  auto& node = nodes_[found->second];
  if (node.names.size() == 1 && !node.detached) {
    // The volume may give the record to a new item at once; the kernel forgets this node later.
    by_key_.erase(node.key);
    node.detached = true;
  }
  unname({parent, name});
}

void NodeTable::buried(NodeId parent, const std::string& name, std::uint64_t record,
                       const std::string& graveyard_path) {
  std::lock_guard lock(mutex_);
  graveyard_[record] = graveyard_path;
  unname({parent, name});
}

}  // namespace roamstead::agent
