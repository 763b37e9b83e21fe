// The keys of one version's hive, read from its page tree.
#pragma once

#include "coordinator/repository/hive_place.h"
#include "coordinator/repository/hive_record.h"
#include "coordinator/repository/objects.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

// Pages read again and again while something walks through one tree. For one thread.
class RecentPages final : public PageSource {
 public:
  explicit RecentPages(PageSource& source) : source_(source) {}
  Result<std::shared_ptr<const Page>> load(const ObjectId& id, KeyOrder order) override;
  Result<ObjectId> save(ByteView page) override { return source_.save(page); }

 private:
  static constexpr std::size_t kMostPages = 64;
  PageSource& source_;
  std::map<ObjectId, std::shared_ptr<const Page>> pages_;
};

// For one thread. `objects` must outlive it.
class HiveView {
 public:
  HiveView(ProfileObjects& objects, const ObjectId& root)
      : objects_(objects), pages_(objects), tree_(pages_, KeyOrder::bytes, root) {}
  HiveView(const HiveView&) = delete;
  HiveView& operator=(const HiveView&) = delete;

  // As Tree::keys and Tree::read_value. ErrorCode::not_found names the key or value.
  Result<profile::KeyStates> keys(const profile::KeyPath& key, profile::KeyScope scope,
                                  const std::string& cursor, std::size_t limit_bytes) const;
  Result<void> read_value(const profile::KeyPath& key, const std::string& value, std::uint64_t offset,
                          MutableByteView out) const;

  const PageTree& tree() const { return tree_; }
  Result<KeyRecord> load_key(ByteView stored) const;
  Result<ValueRecord> load_value(ByteView stored) const;

 private:
  Result<profile::KeyStates> key_and_children(const profile::KeyPath& key, const KeyPlace& place,
                                              const std::string& cursor, std::size_t limit_bytes) const;
  Result<profile::KeyStates> subtree(const profile::KeyPath& key, const KeyPlace& place,
                                     const std::string& cursor, std::size_t limit_bytes) const;

  ProfileObjects& objects_;
  mutable RecentPages pages_;
  PageTree tree_;
};

// Paths of keys met in a walk through a hive's pages, in the case in which the keys were put: those on the
// way down are remembered, or looked up. For one thread; `hive` must outlive it.
class KeyPaths {
 public:
  explicit KeyPaths(const HiveView& hive) : hive_(hive) {}

  // Of the last plain key of a place.
  Result<profile::KeyPath> plain(const ParsedPlace& place);
  // Of the key, whose record is known.
  Result<profile::KeyPath> of(const ParsedPlace& place, const KeyRecord& record);

 private:
  struct Known {
    std::string record;
    profile::KeyPath path;
  };
  Result<profile::KeyPath> down_to(const ParsedPlace& place, std::size_t levels);

  const HiveView& hive_;
  std::vector<Known> known_;  // the root, and a key of each level below it
};

}  // namespace roamstead::repository
