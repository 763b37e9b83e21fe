// How a session begins: resumed where the last one was left, or opened afresh after what lay on the volume is
// set aside.
#pragma once

#include <future>

#include "agent/core/session.h"

namespace roamstead::agent {

struct Opened {
  std::unique_ptr<extract::ProvenanceJournal> journal;
  changelog::SessionFacts facts;
  profile::Entry root;
  bool resumed = false;
  std::uint32_t lease_seconds = 0;
  std::vector<wire::WorkingItem> working_set;
  bool may_save = true;  // false: the profile is open on another desktop
  profile::Rules rules;  // as they were when the session began
  // Of a session opened afresh: the change log's note of it, durable when this is ready. It and the journal's
  // first flush are under way together; the profile's root gets its name after both.
  std::future<Result<void>> noted;
};

// Everything durable is done in an order that a crash at any point leaves a state from which calling this
// again goes on.
class Opening {
 public:
  Opening(const SessionConfig& config, wire::CoordinatorLink& link, ProfileVolume& volume,
          SnapshotProvider& snapshots, changelog::ChangeLog& log)
      : config_(config), link_(link), volume_(volume), snapshots_(snapshots), log_(log) {}

  Result<Opened> run();
  // What can be done before anybody logs in: what a closed session left is set aside, and the volume is ready
  // for the next one. Does nothing where run() has to decide.
  Result<void> prepare();

 private:
  Result<std::optional<Opened>> resume(const changelog::SessionFacts& facts, bool unused);
  // One that was opened ahead of a log-on which did not come: there is nothing to save.
  Result<void> close_unused(const changelog::SessionFacts& facts);
  // A session that was handed over meanwhile: what it has not sent goes as a fork, then it is closed.
  Result<void> salvage(const changelog::SessionFacts& facts);
  Result<void> check_leftovers(const std::optional<changelog::SessionFacts>& facts);
  Result<void> set_leftovers_aside();
  Result<void> make_folders();
  Result<Opened> open_afresh();
  std::string journal_path() const { return config_.agent_root + "/provenance.journal"; }
  std::string staging_root() const { return config_.agent_root + "/staging"; }
  Result<std::unique_ptr<extract::ProvenanceJournal>> open_journal();  // null when there is none

  const SessionConfig& config_;
  wire::CoordinatorLink& link_;
  ProfileVolume& volume_;
  SnapshotProvider& snapshots_;
  changelog::ChangeLog& log_;
};

// Removes what sessions before left behind; slow, for the background. What is left when `go_on` says no is
// left to the next session.
Result<void> empty_trash(const ProfileVolume::GoOn& go_on, ProfileVolume& volume,
                         const std::string& agent_root);

}  // namespace roamstead::agent
