// The names the kernel knows in a mounted profile, and what they stand for on the volume.
//
// A node is one stream of one item ("" for the item itself), whatever its names: hard links share a node. Its
// path is found by walking up, so that a renamed directory takes everything below along. Thread-safe; for a
// path to stay true while it is used, the caller holds back renames.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace roamstead::agent {

using NodeId = std::uint64_t;
inline constexpr NodeId kRootNode = 1;

// Nodes that are shown before they are on the volume have numbers of their own, beyond all records of NTFS.
inline constexpr std::uint64_t kFirstPreviewRecord = std::uint64_t{1} << 52;

struct NodeKey {
  std::uint64_t record = 0;
  std::string stream;
  auto operator<=>(const NodeKey&) const = default;
  bool is_preview() const { return record >= kFirstPreviewRecord; }
};

class NodeTable {
 public:
  NodeTable(std::string root_path, std::uint64_t root_record);

  // The kernel learns of a name: the node behind it, with one more reference from the kernel.
  // A node of that name that was only shown is this one from now on.
  NodeId remember(NodeId parent, const std::string& name, const NodeKey& key);
  // The same for a name that is not on the volume yet.
  NodeId remember_preview(NodeId parent, const std::string& name);
  // What was only shown is on the volume now. Nothing to do for all others.
  void settle(NodeId node, std::uint64_t record);
  void settle(NodeId parent, const std::string& name, std::uint64_t record);
  void forget(NodeId node, std::uint64_t references);
  // Files held open keep their node too.
  void opened(NodeId node);
  // True when nothing of that item is open any more and it has been removed from the profile.
  struct Closed {
    bool last_of_removed = false;
    std::uint64_t record = 0;
    std::string graveyard_path;
  };
  Closed closed(NodeId node);
  bool is_open(std::uint64_t record) const;

  // On the volume; nothing for a node without a name.
  std::optional<std::string> path(NodeId node) const;
  std::optional<std::string> path(NodeId parent, const std::string& name) const;
  std::optional<NodeKey> key(NodeId node) const;
  // Its directory; none for the root and for nodes without a name.
  std::optional<NodeId> parent(NodeId node) const;
  // The number that programs see: the same for as long as the kernel knows the node.
  std::uint64_t shown_record(NodeId node) const;
  // The nearest directory at or above the node that is on the volume, and the names below it.
  struct Place {
    NodeId node = kRootNode;
    std::uint64_t record = 0;
    std::vector<std::string> names;
  };
  std::optional<Place> place(NodeId node) const;

  void renamed(NodeId old_parent, const std::string& old_name, NodeId new_parent,
               const std::string& new_name);
  void exchanged(NodeId first_parent, const std::string& first, NodeId second_parent,
                 const std::string& second);
  void removed(NodeId parent, const std::string& name);
  // The last name of an item whose file is still open: the file lies at `graveyard_path` until it is closed.
  void buried(NodeId parent, const std::string& name, std::uint64_t record,
              const std::string& graveyard_path);

 private:
  using Name = std::pair<NodeId, std::string>;
  struct Node {
    NodeKey key;
    std::uint64_t references = 0;
    std::uint64_t open = 0;
    std::uint64_t children = 0;
    bool detached = false;    // its record may be another item's now
    std::uint64_t shown = 0;  // of one that began as a preview: its number then
    std::vector<Name> names;
  };

  std::optional<std::string> path_locked(NodeId node) const;
  void settle_locked(NodeId node, std::uint64_t record);
  void unname(const Name& name);
  void attach(const Name& name, NodeId node);
  void drop_if_unused(NodeId node);

  mutable std::mutex mutex_;
  const std::string root_path_;
  NodeId last_id_ = kRootNode;
  std::unordered_map<NodeId, Node> nodes_;
  std::map<NodeKey, NodeId> by_key_;
  std::map<Name, NodeId> by_name_;
  std::unordered_map<std::uint64_t, std::uint64_t> open_records_;
  std::unordered_map<std::uint64_t, std::string> graveyard_;  // record -> path
};

}  // namespace roamstead::agent
