// Snapshots without a disk, for tests of the cycle around them: the test says what the next delta holds.
#pragma once

#include <deque>
#include <map>
#include <mutex>

#include "agent/core/snapshot_port.h"

namespace roamstead::agent::testing {

class ScriptedSnapshots final : public SnapshotPort {
 public:
  // The next cut finds one new file with this content; without any, cuts are empty.
  void change(const std::string& path, const std::string& content);
  // A file of an earlier change() is gone: no cut finds it any more.
  void take_back(const std::string& path);
  // What a closed session left is set aside by the next one: not a change there.
  void forget_past();
  std::size_t freezes() const;
  std::vector<Guid> layers() const;  // frozen, oldest first
  std::vector<Guid> belows() const;  // that cuts began at
  std::size_t most_layers() const;   // ever
  int open_contents() const;
  bool merged_while_open() const;
  void fail_next_cut();

  Result<FrozenLayer> freeze() override;
  Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) override;
  Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                               const profile::Batch& batch,
                                                               ByteView locators) override;
  Result<std::size_t> frozen_layers() override;
  Result<void> tidy(const Guid& keep) override;

 private:
  friend class ScriptedContent;
  struct Change {
    std::string path;
    std::string content;
  };
  mutable std::mutex mutex_;
  std::deque<Change> active_;                    // since the last freeze
  std::map<Guid, std::deque<Change>> in_layer_;  // of each frozen layer
  std::vector<Guid> layers_;
  std::vector<Guid> belows_;
  std::size_t freezes_ = 0, most_layers_ = 0;
  int open_ = 0;
  bool merged_while_open_ = false;
  bool fail_next_ = false;
};

}  // namespace roamstead::agent::testing
