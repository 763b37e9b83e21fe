// Candidate by candidate, what a batch says of them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/extract/extract.h"
#include "common/extract/former_names.h"
#include "common/extract/record_set.h"
#include "common/extract/stream_writes.h"
#include "common/extract/tree_before.h"

namespace roamstead::extract {

// Hears what the builder makes of files; for whoever has to remember it.
class BatchObserver {
 public:
  virtual ~BatchObserver() = default;
  // A Put of the file, one for each of its names, whose streams are built on `base` (null: on nothing).
  virtual void put(const ntfs::FileRecord& file, const std::vector<profile::StreamContent>& contents,
                   const Origin* base) = 0;
  // Nothing was done but that names of the file that went were deleted or moved.
  virtual void held_back(std::uint64_t record) = 0;
  // The file is gone, and is in the tree all the same: what takes its place is held back.
  virtual void kept(const Origin& origin) = 0;
};

// What the builder looks at; all must outlive it.
struct Comparison {
  const ntfs::Volume& volume;
  ProfileTree& tree;
  TreeBefore& before;
  const Provenance* provenance = nullptr;  // may be null
  const RangeSet* changed = nullptr;       // bytes of the volume; null: not known
  // Whether one of a file's clusters belongs to another file too.
  std::function<Result<bool>(std::uint64_t)> doubly_owned;
  std::string profile_root;
  bool quiesced = true;
  // Records of the files that are the profile's hives: they are passed over, with all that belongs to them.
  std::set<std::uint64_t> hives = {};
  // Why a file's content cannot be saved just now; nothing, or no function: it can.
  std::function<std::optional<std::string>(std::uint64_t record)> put_off = {};
  BatchObserver* observer = nullptr;
};

// Not thread-safe.
class BatchBuilder {
 public:
  explicit BatchBuilder(Comparison comparison);

  // A base record that may have changed; each is looked at once. Damage in one file holds it back; an error
  // is of the disk below.
  Result<void> examine(std::uint64_t record);
  // After all candidates: published items that are gone, then what is new. Fills records, held_back,
  // locators.
  Result<void> finish(profile::Batch& batch, std::vector<Locator>& locators);

  std::uint64_t files_examined() const { return examined_.size(); }

 private:
  struct PlannedPut {
    profile::Put put;
    Locator locator;
  };
  struct Names {  // how a file's names changed
    std::vector<std::pair<Location, Location>> moved;
    std::vector<Location> gone;
    std::vector<Location> added;
    bool changed() const { return !moved.empty() || !gone.empty() || !added.empty(); }
  };

  Result<void> examine_record(std::uint64_t record);
  Result<void> present(const ntfs::FileRecord& file);
  // Without names of hives.
  Placement place(const ntfs::FileRecord& file);
  Result<void> inside(const ntfs::FileRecord& file, const Placement& placement, const Origin& origin);
  void gone(const Origin& origin);
  Result<void> put(const ntfs::FileRecord& file, const ItemState* item, const Placement& placement,
                   const Origin& origin, const Origin* alike, bool names_changed);
  // Streams whose content the tree before lacks. `base` null: nothing to build on.
  Result<std::vector<profile::StreamContent>> contents(const ntfs::FileRecord& file,
                                                       const profile::Entry& entry, const ItemState* item,
                                                       const Origin* base, bool base_readable,
                                                       bool same_file);
  Result<StreamBefore> stream_before(const std::string& name, const Origin& base, bool readable,
                                     bool same_file, const ItemState* item) const;
  Result<void> new_files();
  // The file that was lost at this one's path, or at one that it had since the snapshot before; null: none.
  const Origin* lost_where_it_was(const ntfs::FileRecord& file, const std::string& path);
  void keep_predecessor(const Location& name);
  Result<void> vanished_items();
  Result<void> vanished(const ItemState& item);
  Result<void> queue_descendants(std::uint64_t directory);
  Names compare_names_of(const std::vector<Location>& before, const std::vector<Location>& now) const;
  bool still_inside(const ntfs::FileReference& directory);
  std::optional<std::string> missing_from_index(const Location& name, const ntfs::FileReference& file);
  std::uint64_t link_group(const ntfs::FileRecord& file) const;

  void add_delete(const Location& name);
  void add_move(const Location& from, const Location& to);
  void hold_back(const std::string& path, const std::string& reason);
  void hold_back(const ntfs::FileRecord& file, const std::string& path, const std::string& reason);
  // The error as a reason to hold the file back, or itself when it is not the file's fault.
  Result<void> blame(const std::string& path, Error error);
  std::string describe(const ntfs::FileRecord& file, const Placement& placement) const;

  Comparison comparison_;
  RecordSet examined_;
  std::vector<std::uint64_t> queue_;
  std::vector<std::uint64_t> new_;  // base records of files that the tree before does not have
  std::map<std::string, Origin>
      vacated_;  // by path in the tree before: files deleted or moved away from there
  std::map<std::string, profile::Delete> deletes_;
  std::map<std::string, profile::Move> moves_;  // by source
  std::set<std::string> move_targets_;
  std::optional<FormerNames> former_names_;
  std::map<std::string, PlannedPut> puts_;
  std::map<std::string, std::string> held_back_;
  using Index = std::set<std::pair<std::string, ntfs::FileReference>>;
  std::map<std::uint64_t, Result<Index>> indexes_;
};

}  // namespace roamstead::extract
