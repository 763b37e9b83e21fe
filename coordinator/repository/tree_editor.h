// Applies a batch to a version: an overlay in memory over the immutable tree, written out as new pages at the
// end.
#pragma once

#include "common/profile/batch.h"
#include "coordinator/repository/hive_editor.h"
#include "coordinator/repository/tree.h"

namespace roamstead::repository {

// For one batch and one thread. Tree and objects must outlive it.
class TreeEditor {
 public:
  // `store`: false only finds out grown_bytes(); nothing is read of the batch's content or stored, and
  // finish() must not be called.
  TreeEditor(const TreeView& before, ProfileObjects& objects, bool store = true);
  ~TreeEditor();

  // Order: everything deleted or moved is taken out, deepest first; then, parents first, moved things are put
  // where they go and puts are made; keys of hives come last. Refused, naming the path: a source or base that
  // is not in the version (not_found), a target whose parent does not exist (not_found), a target that is
  // taken (exists), a hive that is none or a key without a parent (not_found).
  Result<void> apply(const profile::Batch& batch, profile::ContentSource& content);

  // Writes the changed directories; returns the new root.
  Result<Node> finish();
  // By how much the content of all files, streams and registry values has become more (less: negative).
  // Reads what is deleted, and of the rest nothing that the batch does not name.
  std::int64_t grown_bytes() const;

 private:
  struct Item;
  using ItemPointer = std::unique_ptr<Item>;

  Result<Item*> open(const profile::ProfilePath& path);  // null when there is none
  Result<Item*> open_child(Item& parent, std::string_view name);
  Result<Item*> open_parent(const profile::ProfilePath& target);
  Result<ItemPointer> detach(const profile::ProfilePath& source);
  Result<void> attach(const profile::ProfilePath& target, ItemPointer item);
  Result<void> put(const profile::Put& put, std::size_t record, profile::ContentSource& content);
  Result<Content> make_stream(const profile::Put& put, const Node* base, const std::string& name,
                              std::uint64_t size_bytes, std::size_t record, profile::ContentSource& content);
  Result<void> apply_keys(const profile::Batch& batch, profile::ContentSource& content);
  Result<HiveEditor*> open_hive(const profile::ProfilePath& hive);
  Result<void> write_out(Item& item);
  Result<std::uint64_t> bytes_within(const Item& item);

  const TreeView& before_;
  ProfileObjects& objects_;
  const bool store_;
  ItemPointer root_;
  std::int64_t grown_bytes_ = 0;    // without what hives under edit grew by
  std::vector<HiveEditor*> hives_;  // live as long as the items that hold them, which nothing drops any more
};

}  // namespace roamstead::repository
