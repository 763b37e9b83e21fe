#include "coordinator/repository/tree.h"

#include "common/base/text.h"
#include "coordinator/repository/hive_diff.h"

namespace roamstead::repository {
namespace {

// Deeper trees cannot be made through batches; a damaged one must not exhaust the stack.
constexpr int kMaxDepth = 4096;

// Walks two directories side by side, entering only subtrees whose pages differ.
class Differ {
 public:
  using Visit = std::function<void(Tree::Change, const profile::ProfilePath&, const profile::Entry&)>;
  Differ(ProfileObjects& objects, const Visit& visit) : objects_(objects), visit_(visit) {}

  Result<void> directory(const profile::ProfilePath& path, const ObjectId& before, const ObjectId& after,
                         int depth) {
    if (before == after) return {};
    if (depth > kMaxDepth) return fail(ErrorCode::corrupt, "'" + path.text() + "' lies too deep");
    // Names and stored values: equal values are equal nodes with all below.
    std::map<std::string, std::pair<Bytes, Bytes>, KeyLess> children(KeyLess{KeyOrder::names});
    auto collect = [&](const ObjectId& root, bool is_after) {
      return PageTree(objects_, KeyOrder::names, root)
          .scan("", [&](std::string_view key, ByteView value) -> Result<bool> {
            auto& pair = children[std::string(key)];
            (is_after ? pair.second : pair.first) = to_bytes(value);
            return true;
          });
    };
    RS_CHECK(collect(before, false));
    RS_CHECK(collect(after, true));
    for (const auto& [name, values] : children) {
      if (values.first == values.second) continue;
      RS_CHECK(entry(path.child(name), values.first, values.second, depth));
    }
    return {};
  }

 private:
  Result<void> entry(const profile::ProfilePath& path, const Bytes& before, const Bytes& after, int depth) {
    std::optional<Node> old_node, new_node;
    if (!before.empty()) {
      RS_TRY(old_node, objects_.load_node(before));
    }
    if (!after.empty()) {
      RS_TRY(new_node, objects_.load_node(after));
    }
    auto old_children = old_node && old_node->entry.is_directory() ? old_node->children : ObjectId{};
    auto new_children = new_node && new_node->entry.is_directory() ? new_node->children : ObjectId{};
    if (!old_node)
      visit_(Tree::Change::added, path, new_node->entry);
    else if (!new_node)
      visit_(Tree::Change::removed, path, old_node->entry);
    else {
      // What lies below a directory is reported on its own; a hive changes with its keys.
      if (old_node->entry.is_directory() && new_node->entry.is_directory()) old_node->children = new_children;
      if (*old_node != *new_node) visit_(Tree::Change::changed, path, new_node->entry);
    }
    return directory(path, old_children, new_children, depth + 1);
  }

  ProfileObjects& objects_;
  const Visit& visit_;
};

}  // namespace

Node TreeView::empty_root() {
  Node root;
  root.entry.kind = profile::EntryKind::directory;
  return root;
}

Result<std::unique_ptr<TreeView>> TreeView::open(ObjectStore& store, const ProfileId& profile,
                                                 std::uint64_t version, ByteView root) {
  auto view = std::make_unique<TreeView>(store, profile, version, empty_root());
  RS_TRY(view->root_, view->objects_.load_node(root));
  if (!view->root_.entry.is_directory())
    return fail(ErrorCode::corrupt, "the root of version " + std::to_string(version) + " is no directory");
  return view;
}

Result<std::optional<Node>> TreeView::child(const Node& directory, std::string_view name) const {
  if (!directory.entry.is_directory()) return std::optional<Node>();
  RS_TRY(auto value, PageTree(objects_, KeyOrder::names, directory.children).find(name));
  if (!value) return std::optional<Node>();
  RS_TRY(auto node, objects_.load_node(*value));
  return std::optional<Node>(std::move(node));
}

Result<Node> TreeView::node(const profile::ProfilePath& path) const {
  auto at = root_;
  for (auto name : path.components()) {
    RS_TRY(auto next, child(at, name));
    if (!next)
      return fail(ErrorCode::not_found,
                  "'" + path.text() + "' is not in version " + std::to_string(version_));
    at = std::move(*next);
  }
  return at;
}

Result<profile::Entry> TreeView::lookup(const profile::ProfilePath& path) const {
  RS_TRY(auto found, node(path));
  return std::move(found.entry);
}

Result<std::vector<profile::NamedEntry>> TreeView::list(const profile::ProfilePath& directory,
                                                        const std::string& after, std::size_t limit) const {
  RS_TRY(auto found, node(directory));
  if (!found.entry.is_directory())
    return fail(ErrorCode::invalid_argument, "'" + directory.text() + "' is not a directory");
  std::vector<profile::NamedEntry> entries;
  if (limit == 0) return entries;
  RS_CHECK(PageTree(objects_, KeyOrder::names, found.children)
               .scan(after, [&](std::string_view key, ByteView value) -> Result<bool> {
                 if (key == after) return true;
                 RS_TRY_CTX(auto node, "'" + directory.child(key).text() + "'", objects_.load_node(value));
                 entries.push_back({std::string(key), std::move(node.entry)});
                 return entries.size() < limit;
               }));
  return entries;
}

Result<void> TreeView::read(const profile::ProfilePath& path, const std::string& stream, std::uint64_t offset,
                            MutableByteView out) const {
  RS_TRY(auto found, node(path));
  std::uint64_t size = 0;
  const auto* content = found.find_stream(stream, size);
  if (content == nullptr)
    return fail(ErrorCode::not_found, "'" + path.text() + "' has no stream '" + stream + "' in version " +
                                          std::to_string(version_));
  RS_CHECK_CTX("'" + path.text() + "'", read_content(objects_, *content, size, offset, out));
  return {};
}

Result<void> TreeView::diff(
    const Tree& newer,
    const std::function<void(Change, const profile::ProfilePath&, const profile::Entry&)>& visit) const {
  const auto* other = dynamic_cast<const TreeView*>(&newer);
  if (other == nullptr || other->objects_.profile() != objects_.profile())
    return fail(ErrorCode::invalid_argument, "only versions of one profile can be compared");
  auto before = root_;
  before.children = other->root_.children;
  if (before != other->root_) visit(Change::changed, profile::ProfilePath(), other->root_.entry);
  return Differ(objects_, visit).directory(profile::ProfilePath(), root_.children, other->root_.children, 0);
}

Result<ObjectId> TreeView::hive_root(const profile::ProfilePath& hive) const {
  RS_TRY(auto found, node(hive));
  if (found.entry.kind != profile::EntryKind::registry)
    return fail(ErrorCode::not_found,
                "'" + hive.text() + "' is no hive in version " + std::to_string(version_));
  return found.children;
}

Result<profile::KeyStates> TreeView::keys(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                          profile::KeyScope scope, const std::string& cursor,
                                          std::size_t limit_bytes) const {
  RS_TRY(auto root, hive_root(hive));
  RS_TRY_CTX(auto states, "'" + hive.text() + "' in version " + std::to_string(version_),
             HiveView(objects_, root).keys(key, scope, cursor, limit_bytes));
  return states;
}

Result<void> TreeView::diff_keys(const Tree& newer, const profile::ProfilePath& hive,
                                 const std::function<void(const KeyDifference&)>& visit) const {
  const auto* other = dynamic_cast<const TreeView*>(&newer);
  if (other == nullptr || other->objects_.profile() != objects_.profile())
    return fail(ErrorCode::invalid_argument, "only versions of one profile can be compared");
  auto before = hive_root(hive), after = other->hive_root(hive);
  for (const auto* root : {&before, &after})
    if (!*root && root->error().code != ErrorCode::not_found) return fail(root->error());
  if (!before && !after) return fail(std::move(after).error());
  return diff_hives(objects_, before.value_or(ObjectId{}), after.value_or(ObjectId{}), visit);
}

Result<void> TreeView::read_value(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                  const std::string& value, std::uint64_t offset, MutableByteView out) const {
  RS_TRY(auto root, hive_root(hive));
  RS_CHECK_CTX("'" + hive.text() + "' in version " + std::to_string(version_),
               HiveView(objects_, root).read_value(key, value, offset, out));
  return {};
}

}  // namespace roamstead::repository
