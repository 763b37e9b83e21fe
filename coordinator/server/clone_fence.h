// What comes before a clone's disk is replaced or deleted: nobody writes to it any more, and what its
// sessions had not sent is in the repository.
#pragma once

#include <set>
#include <string>

#include "coordinator/compose/pool_job.h"
#include "coordinator/server/command_table.h"
#include "coordinator/server/host_snapshots.h"

namespace roamstead::server {

struct Fenced {
  OpeningGate::Hold openings;                      // as long as it lives no profile is opened there
  std::unique_ptr<HostSnapshots::Shut> snapshots;  // nor is its disk frozen or merged; null: nobody does
  bool was_on = false;                             // its machine was switched off for this
  nlohmann::json saved;  // of each session that was ended here, as `session.recover-layer` has it
};

// A desktop that is connected is asked to log out, and waited for ("within_seconds" of the request, 30). Then
// its machine is switched off, where the pool has machines. What sessions still open did not send, or one
// that somebody else took over from it, is read from the disk and kept as forks. "discard_unsent": nobody is
// asked, nothing is read, sessions are ended.
//
// ErrorCode::busy while the desktop may be alive, and other errors where its disk cannot be read: then
// nothing was changed, but that its machine may be off.
Result<Fenced> fence_clone(const Invocation& call, const compose::PoolSpec& spec,
                           const compose::CloneRow& clone);

// Those that have a session open, or had one last that did not end by a log-out: the others have nothing to
// save.
Result<std::set<std::string>> desktops_to_fence(const Invocation& call);

// What a session's desktop did not send, read from its disk and kept beside the head; ends the session.
// Nothing is written to the disk (session_commands.cpp).
Result<nlohmann::json> save_from_disk(const Invocation& call, const SessionInfo& session,
                                      const std::string& disk, std::uint32_t partition);

}  // namespace roamstead::server
