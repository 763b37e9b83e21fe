// Snapshots of the desktop's disk whose layers the agent reads itself: it cuts the batches, queues and sends
// them.
#pragma once

#include <functional>
#include <memory>
#include <string>

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
