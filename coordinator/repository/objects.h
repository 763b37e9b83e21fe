// One profile's view of the object store: pages, nodes, records and chunks put and got under the right keys,
// bytes counted.
#pragma once

#include <atomic>

#include "coordinator/repository/node.h"
#include "coordinator/repository/object_store.h"
#include "coordinator/repository/page_tree.h"

namespace roamstead::repository {

// Thread-safe. The store must outlive it.
class ProfileObjects final : public PageSource {
 public:
  ProfileObjects(ObjectStore& store, const ProfileId& profile) : store_(store), profile_(profile) {}

  const ProfileId& profile() const { return profile_; }

  Result<std::shared_ptr<const Page>> load(const ObjectId& id, KeyOrder order) override;
  Result<ObjectId> save(ByteView page) override { return put(ObjectType::page, profile_, page); }

  Result<SharedBytes> chunk(const ObjectId& id) const {
    return store_.get(ObjectType::chunk, ProfileId{}, id);
  }
  Result<ObjectId> put_chunk(ByteView content) { return put(ObjectType::chunk, ProfileId{}, content); }

  // A node as a directory's page holds it: in full, or by id when it is large.
  Result<Bytes> store_node(const Node& node);
  Result<Node> load_node(ByteView value) const;
  // The same for a hive's records.
  Result<Bytes> store_record(ByteView encoded);
  Result<Bytes> load_record(ByteView value) const;
  // The object a stored node or record refers to, when it is stored by id.
  static std::optional<ObjectId> external_node(ByteView value);

  // On storage, of what this view put and nobody had put before.
  std::uint64_t new_bytes() const { return new_bytes_; }

 private:
  Result<ObjectId> put(ObjectType type, const ProfileId& owner, ByteView content);

  ObjectStore& store_;
  ProfileId profile_;
  std::atomic<std::uint64_t> new_bytes_{0};
};

}  // namespace roamstead::repository
