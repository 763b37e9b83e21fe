// The hives of a profile in an extraction. They are no files of the profile but trees of keys: this finds
// them by their paths on both snapshots and says what changed in them; the batch builder passes them over.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/extract/extract.h"
#include "common/extract/hive_changes.h"
#include "common/extract/live_hive.h"
#include "common/extract/record_set.h"
#include "common/extract/tree_before.h"

namespace roamstead::extract {

// What is looked at; all must outlive it.
struct HiveContext {
  const ntfs::Volume& volume;
  ProfileTree& tree;
  TreeBefore& before;
  const Provenance* provenance = nullptr;  // may be null
  const RecordSet* candidates = nullptr;   // records that may have changed; null: all may
  std::string profile_root;
  std::string provenance_path;
  const Selection& selection;
  bool waited = false;  // what was kept for log-out is part of this snapshot for the first time
};

// Not thread-safe. Damage holds a hive back; errors are of the disk below.
class ProfileHives {
 public:
  static Result<ProfileHives> find(HiveContext context);

  // Records of the files that are the profile's hives now. Another file with such a path is none.
  const std::set<std::uint64_t>& files() const { return files_; }
  // Records that became hives, or files that belong to one, or ceased to be, because a directory moved.
  const std::set<std::uint64_t>& displaced() const { return displaced_; }

  // Appends to the batch, after all records of files.
  Result<void> finish(profile::Batch& batch, std::vector<Locator>& locators);

 private:
  struct Hive {
    profile::ProfilePath path;  // one of hive_paths()
    HiveFiles now, before, base, base_before;
    std::string damage;  // in the way to them now
    // The session may hold less of it than the live hive had then: it was held back, in whole or in part.
    bool unsure = false;
    ItemPointer item;  // as it was published
    std::shared_ptr<const LoadedHive> live, live_before, loaded, loaded_before;
  };

  explicit ProfileHives(HiveContext context) : context_(std::move(context)) {}
  Result<Hive> find_hive(const profile::ProfilePath& path);
  Result<void> find_displaced(const profile::ProfilePath& path);
  ItemPointer published(const profile::ProfilePath& path) const;

  Result<void> add(Hive& hive, profile::Batch& batch, std::vector<Locator>& locators);
  bool touched(const Hive& hive) const;
  bool in_tree_before(const Hive& hive) const;
  void add_delete(const Hive& hive, profile::Batch& batch, std::vector<Locator>& locators);
  Result<profile::ProfilePath> path_after(const Hive& hive);
  Result<void> load(Hive& hive);
  Result<HiveRecords> compare(const Hive& hive, const profile::ProfilePath& path, bool in_tree);
  bool unpopulated_directory(const Hive& hive) const;
  Result<void> add_entry(const Hive& hive, const profile::ProfilePath& path, profile::Batch& batch,
                         std::vector<Locator>& locators);
  std::string on_volume(const profile::ProfilePath& path) const;

  HiveContext context_;
  std::vector<Hive> hives_;
  std::set<std::uint64_t> files_, displaced_;
};

}  // namespace roamstead::extract
