// One version of a profile, immutable: what sessions, exports and the tree editor read.
#pragma once

#include "coordinator/repository/content.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

// Thread-safe; holds no locks and nothing but the root in memory. The object store must outlive it.
class TreeView final : public Tree {
 public:
  TreeView(ObjectStore& store, const ProfileId& profile, std::uint64_t version, Node root)
      : objects_(store, profile), version_(version), root_(std::move(root)) {}
  // Of a version's stored root.
  static Result<std::unique_ptr<TreeView>> open(ObjectStore& store, const ProfileId& profile,
                                                std::uint64_t version, ByteView root);
  // The root of a profile that has no version yet.
  static Node empty_root();

  std::uint64_t version() const override { return version_; }
  Result<profile::Entry> lookup(const profile::ProfilePath& path) const override;
  Result<std::vector<profile::NamedEntry>> list(const profile::ProfilePath& directory,
                                                const std::string& after, std::size_t limit) const override;
  Result<void> read(const profile::ProfilePath& path, const std::string& stream, std::uint64_t offset,
                    MutableByteView out) const override;
  Result<void> diff(const Tree& newer,
                    const std::function<void(Change, const profile::ProfilePath&, const profile::Entry&)>&
                        visit) const override;
  Result<profile::KeyStates> keys(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                  profile::KeyScope scope, const std::string& cursor,
                                  std::size_t limit_bytes) const override;
  Result<void> read_value(const profile::ProfilePath& hive, const profile::KeyPath& key,
                          const std::string& value, std::uint64_t offset, MutableByteView out) const override;
  Result<void> diff_keys(const Tree& newer, const profile::ProfilePath& hive,
                         const std::function<void(const KeyDifference&)>& visit) const override;

  const Node& root() const { return root_; }
  ProfileObjects& objects() const { return objects_; }
  // ErrorCode::not_found names the path.
  Result<Node> node(const profile::ProfilePath& path) const;
  // None when the directory has no such child.
  Result<std::optional<Node>> child(const Node& directory, std::string_view name) const;

 private:
  Result<ObjectId> hive_root(const profile::ProfilePath& hive) const;

  mutable ProfileObjects objects_;
  std::uint64_t version_;
  Node root_;
};

}  // namespace roamstead::repository
