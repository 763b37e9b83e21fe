#include "coordinator/server/vanished_recovery.h"

#include "common/base/event.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/compose/pool_vms.h"
#include "coordinator/compose/windows_volume.h"
#include "coordinator/server/clone_fence.h"

namespace roamstead::server {

VanishedRecovery::VanishedRecovery(std::function<CommandContext()> context,
                                   std::chrono::milliseconds interval)
    : context_(std::move(context)), thread_([this, interval] { run(interval); }) {}

VanishedRecovery::~VanishedRecovery() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  ending_.notify_all();
  thread_.join();
}

void VanishedRecovery::run(std::chrono::milliseconds interval) {
  std::unique_lock lock(mutex_);
  while (!ending_.wait_for(lock, interval, [this] { return over_; })) {
    lock.unlock();
    look();
    lock.lock();
  }
}

void VanishedRecovery::look() {
  const auto context = context_();
  if (context.pools == nullptr) return;
  const auto sessions = context.sessions.sessions(true);
  if (!sessions) return;  // the state store has trouble of its own, and says so
  for (const auto& session : *sessions) {
    if (!session.vanished || failed_.count(session.row.id) != 0) continue;
    const auto done = recover(context, session);
    // One that is being set back or deleted is saved by that.
    if (done || done.error().code == ErrorCode::busy) continue;
    failed_.insert(session.row.id);
    log_event(Event::vanished_unreadable,
              "what desktop '{}', which has vanished and is off, did not send of '{}' cannot be read: {}; "
              "'roamstead session recover-layer' tries again",
              session.row.desktop, session.row.profile_name, done.error().to_string());
  }
}

Result<void> VanishedRecovery::recover(const CommandContext& context, const SessionInfo& session) {
  const auto& desktop = session.row.desktop;
  const auto clone = context.pools->clone(desktop);
  if (!clone) return clone.error().code == ErrorCode::not_found ? Result<void>() : fail(clone.error());
  RS_TRY(const auto row, context.pools->pool(clone->pool));
  RS_TRY(const auto spec, compose::parse_made_pool_spec(row.specification, "pool " + row.name));
  auto& files = os::real_file_system();
  const compose::PoolVms machines(files, spec);
  if (!machines.any()) return {};
  RS_TRY(const auto job, context.pools->jobs().begin_clone(row.name, desktop, "session recover-layer"));
  // From here on the desktop opens nothing: what is read is the last of it.
  const auto shut = context.sessions.shut_openings(desktop);
  RS_TRY(const auto power, machines.power(desktop, clone->index));
  if (power != hypervisor::Power::off || context.sessions.is_connected(desktop)) return {};
  const auto disk = compose::current_top(files, compose::paths_of(spec, desktop).active);
  std::uint32_t partition = 0;
  {
    RS_TRY(const auto windows, compose::WindowsDisk::open(files, disk));
    partition = windows->place().partition;
  }
  const Caller caller{"coordinator", Role::administrator, "internal"};
  const nlohmann::json request{{"command", "session.recover-layer"}, {"desktop", desktop}};
  const admin::ProgressSink nobody;
  RS_TRY(const auto saved, save_from_disk({context, caller, request, nobody}, session, disk, partition));
  log_info("desktop '{}' has vanished and is off: what it did not send of '{}' is saved: {}", desktop,
           session.row.profile_name, saved.dump());
  if (context.audit != nullptr)
    context.audit->append({"session.recover-layer",
                           caller.name,
                           "desktop " + desktop,
                           audit::Outcome::done,
                           "",
                           {{"origin", caller.origin}, {"session", session.row.id.to_string()}}});
  return {};
}

}  // namespace roamstead::server
