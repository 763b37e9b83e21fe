// Snapshots of the desktop's disk whose layers the agent reads itself: it cuts the batches, queues and sends
// them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/core/snapshot_provider.h"
#include "common/base/guid.h"
#include "common/profile/batch.h"

namespace roamstead::agent {

struct FrozenLayer {
  std::string path;
  Guid id;
};

// A batch cut from a frozen layer, with access to its bytes there. Keeps the layer's chain open.
class Cut {
 public:
  virtual ~Cut() = default;
  virtual const profile::Batch& batch() const = 0;  // incarnation and ordinal not filled in
  virtual profile::ContentSource& content() = 0;
  virtual Bytes locators() const = 0;  // enough for open_content() in another process
};

// Thread-safe; calls take their turn.
class SnapshotPort : public SnapshotProvider {
 public:
  // Called before the first freeze, by whoever loads, and with nothing when it ceases to. `loaded_since`
  // tells the records on the volume of what was published or loaded since the journal of provenance had so
  // many bytes, and makes that durable there: for who looks at the volume while programs go on.
  using LoadedSince = std::function<Result<std::vector<std::uint64_t>>(std::uint64_t journal_bytes)>;
  virtual void watch_loading(LoadedSince) {}
  // The next freeze is the session's last: nothing can be left to another one.
  virtual void expect_last() {}
  // The next freeze is to show all there is, whatever this heard of what changed.
  virtual void expect_whole() {}
  // Whether the last cut left something to the next one, which should come though nothing else changes.
  virtual bool left_something() { return false; }

  // The caller has quiesced the volume.
  virtual Result<FrozenLayer> freeze() = 0;
  // What changed between `below` (zero: since the session began) and `frozen`.
  virtual Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) = 0;
  // The bytes of a batch that was cut before a restart.
  virtual Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                                       const profile::Batch& batch,
                                                                       ByteView locators) = 0;
  // Frozen layers above the clone's parent.
  virtual Result<std::size_t> frozen_layers() = 0;
  // Merges frozen layers until as few as possible are left; the layer `keep` stays visible by its id. Only
  // while no cut or content is open.
  Result<void> tidy(const Guid& keep) override = 0;

  std::unique_ptr<Saver> saver(const SaverParts& parts) final;  // local_saver.cpp
  Result<void> save_rest(const changelog::SessionFacts& facts, changelog::ChangeLog& log,
                         wire::CoordinatorLink& link) final;
};

}  // namespace roamstead::agent
