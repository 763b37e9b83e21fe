// Snapshots that the host makes: the coordinator freezes the machine's disk, extracts and commits what
// changed. The agent holds programs while the disk is frozen, and notes what has become durable as if it had
// cut it itself.
//
// What can go wrong costs nothing but time: a snapshot that the agent did not hold until it was frozen, that
// the coordinator forgot because it was started again, or that could not be extracted is none, and the next
// one shows what it would have shown. The ordinal that it may have become is durable here before the
// coordinator may commit it, so that no session that is resumed looks like one of the past.
#pragma once

#include "agent/core/saver.h"
#include "common/wire/snapshot_link.h"

namespace roamstead::agent {

class HostSnapshots final : public SnapshotProvider {
 public:
  struct Options {
    std::chrono::milliseconds hold_at_most{10'000};  // programs are held for so long, whatever happens
    std::string provenance_path = "ProgramData/Roamstead/provenance.journal";  // on the volume
  };

  // `link` must outlive it.
  explicit HostSnapshots(wire::SnapshotLink& link) : HostSnapshots(link, Options()) {}
  HostSnapshots(wire::SnapshotLink& link, Options options) : link_(link), options_(options) {}

  // ErrorCode::unsupported, saying what is missing, when the coordinator makes none of this desktop.
  Result<void> check();

  std::unique_ptr<Saver> saver(const SaverParts& parts) override;
  // Batches that were queued by a provider of another kind are refused: their layers cannot be read here.
  Result<void> save_rest(const changelog::SessionFacts& facts, changelog::ChangeLog& log,
                         wire::CoordinatorLink& link) override;
  Result<void> tidy(const Guid&) override { return {}; }  // the coordinator does it

 private:
  wire::SnapshotLink& link_;
  const Options options_;
};

}  // namespace roamstead::agent
