// Snapshots of a desktop whose disk nobody can read: the profile's folder is scanned, and what changed is
// copied. The same batches as extraction makes, by the same comparison.
//
// What is consistent: each file by itself, as it was at one instant after the freeze, and all names with each
// other. Files are not frozen together: one that is changed while the scan goes on may be there as it was
// after another one that is not. A file that changes while it is copied is tried again, and then left to the
// next snapshot. The hives are copied while programs are held.
//
// Where the source tells which folders changed, a scan lists these alone and everything at the
// session's end, on request, after a start, whenever something is not met where it was, and every so often.
// What such a scan says is there is there; that something is gone it leaves to one that lists everything.
//
// A batch's bytes are copied into the desktop's state, and are on stable storage before the batch is queued.
// What was saved is known by a table beside them (saved_tree.h).
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>

#include "agent/core/snapshot_port.h"
#include "agent/scan/live_volume.h"
#include "common/extract/provenance.h"

namespace roamstead::agent {

struct ScanStatistics {
  std::uint64_t listed = 0;    // items
  std::uint64_t examined = 0;  // of them, not as the tree knew them
  std::uint64_t copied_bytes = 0;
  int attempts = 0;
  bool whole = false;  // everything was looked at, not only what is said to have changed
  double list_seconds = 0, seconds = 0;
};

class ScanSnapshots final : public SnapshotPort {
 public:
  struct Options {
    std::string directory;        // of the table and the copies, in the desktop's state
    std::string provenance_path;  // on the volume
    // Of a batch's content, unless a single file has more: the rest is left to the next one, but at the
    // session's end.
    std::uint64_t most_bytes = std::uint64_t{1} << 30;
    // A file that a program shares with nobody is waited for so long at the session's end.
    std::chrono::milliseconds last_patience{10'000};
    // Saves a hive that the system keeps open, by its path on the volume, into a new file on this machine;
    // none: hives can be read.
    std::function<Result<void>(const std::string& hive, const std::string& to)> save_hive;
  };
  // All must outlive it; `files` is where the state lies.
  static Result<std::unique_ptr<ScanSnapshots>> open(ScanSource& source, os::FileSystem& files,
                                                     Options options);

  void watch_loading(LoadedSince loaded_since) override;
  void expect_last() override;
  void expect_whole() override;
  bool left_something() override;
  Result<FrozenLayer> freeze() override;
  Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) override;
  Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                               const profile::Batch& batch,
                                                               ByteView locators) override;
  Result<std::size_t> frozen_layers() override;
  Result<void> tidy(const Guid& keep) override;

  ScanStatistics statistics() const;  // of the last cut

 private:
  struct Frozen {
    FrozenLayer layer;
    extract::JournalHeader header;
    std::uint64_t journal_bytes = 0;
    std::uint64_t taken_100ns = 0;
    std::vector<CopiedFile> copies;
    bool last = false, whole = false;
  };
  // What the latest cut listed.
  struct Listed {
    Guid cut;
    ListedFolders folders;
    int since_whole = 0;  // cuts
  };
  ScanSnapshots(ScanSource& source, os::FileSystem& files, Options options, std::unique_ptr<SavedTree> tree);
  Result<std::optional<CopiedFile>> copy(const std::string& path, bool hive,
                                         const std::vector<CopiedFile>& before);
  Result<void> remove_unused(const std::vector<CutFacts>& cuts);
  std::string in_spool(const std::string& name) const { return os::join_path(options_.directory, name); }

  ScanSource& source_;
  os::FileSystem& files_;
  const Options options_;
  mutable std::mutex mutex_;  // all below
  const std::unique_ptr<SavedTree> tree_;
  LoadedSince loaded_since_;
  std::optional<Frozen> frozen_;
  bool expect_last_ = false;
  bool expect_whole_ = false;
  Listed listed_;
  bool left_something_ = false;
  ScanStatistics statistics_;
};

}  // namespace roamstead::agent
