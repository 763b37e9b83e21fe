// One cut of a scan: the comparison, the copying, and what the tree is afterwards.
#pragma once

#include "agent/scan/scan_snapshots.h"
#include "common/extract/batch_builder.h"
#include "common/extract/selection.h"

namespace roamstead::agent {

// Once.
class ScanWork {
 public:
  struct Place {
    ScanSource& source;
    SavedTree& tree;  // as the cut below left it
    os::FileSystem& files;
    std::string spool;
    std::string content_path;  // of the bytes that travel
    std::string provenance_path;
    ListedFolders& folders;  // as the scan before listed them, where `changed` is given
    std::optional<std::set<std::uint64_t>> changed;  // of them; nothing: everything is listed
  };
  struct Limits {
    std::uint64_t most_bytes = 0;  // 0: none
  };
  ScanWork(Place place, extract::JournalHeader header, std::vector<CopiedFile> copies,
           const extract::Provenance& provenance, const extract::EarlierProvenance* earlier,
           std::uint64_t journal_bytes, const SnapshotPort::LoadedSince& loaded_since, Limits limits)
      : place_(std::move(place)),
        header_(std::move(header)),
        copies_(std::move(copies)),
        provenance_(provenance),
        earlier_(earlier),
        journal_bytes_(journal_bytes),
        loaded_since_(loaded_since),
        limits_(limits) {}

  // Compares until nothing disturbed it, and copies the content.
  Result<void> run(ScanStatistics& statistics);

  profile::Batch& batch() { return batch_; }
  std::vector<SavedTree::Change>& changes() { return changes_; }
  bool left_something() const { return left_something_; }
  // Whether a file could not be read because of a program that has it open.
  bool met_open_files() const { return met_open_files_; }
  // Everything was looked at.
  bool was_whole() const { return was_whole_; }

 private:
  class Remembered;
  // Only what changed, where that is known and holds together; otherwise everything.
  Result<TreeListing> list(const extract::Selection& selection, bool first);
  // Nothing that is known to be there was not met: that it is gone is told by a look at everything only.
  bool met_all(const LiveVolume& live) const;
  // False: to be tried again.
  Result<bool> attempt(bool first, bool final_try, ScanStatistics& statistics);
  Result<void> drop_newly_published(LiveVolume& live);
  bool put_off_what_is_too_much(const std::vector<extract::Locator>& locators);
  Result<bool> put_off_what_is_open(const LiveVolume& live, const std::vector<extract::Locator>& locators);
  Result<bool> is_settled(const LiveVolume& live, const Remembered& remembered, bool final_try);
  Result<void> note_changes(const LiveVolume& live, const Remembered& remembered);
  Result<void> fill_streams(const LiveVolume& live, const Remembered& remembered, SavedItem& item) const;
  Result<SavedItem> published_item(const extract::ItemState& item, std::uint64_t record,
                                   std::uint16_t sequence) const;
  Result<std::optional<SavedItem>> held_item(const LiveVolume& live, std::uint64_t record) const;

  const Place place_;
  const extract::JournalHeader header_;
  const std::vector<CopiedFile> copies_;
  const extract::Provenance& provenance_;
  const extract::EarlierProvenance* earlier_;
  const std::uint64_t journal_bytes_;
  const SnapshotPort::LoadedSince& loaded_since_;
  const Limits limits_;

  std::map<std::uint64_t, std::string> put_off_;  // by record: why
  std::set<std::uint64_t> loading_;               // of them, since the agent itself is at work on them
  extract::RecordSet candidates_;
  profile::Batch batch_;
  std::vector<SavedTree::Change> changes_;
  bool left_something_ = false;
  bool met_open_files_ = false;
  bool was_whole_ = false;
};

}  // namespace roamstead::agent
