#include "coordinator/server/clone_fence.h"

#include <algorithm>
#include <thread>

#include "common/base/log.h"
#include "common/extract/extract.h"
#include "coordinator/compose/windows_volume.h"

namespace roamstead::server {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(20);

Result<std::vector<SessionInfo>> sessions_of(const Invocation& call, const std::string& desktop) {
  RS_TRY(auto sessions, call.context.sessions.sessions(true));
  std::erase_if(sessions, [&](const SessionInfo& each) { return each.row.desktop != desktop; });
  return sessions;
}

// The desktop's latest session, if somebody took its profile over: only its disk knows whether it had sent
// everything by then.
Result<std::optional<SessionInfo>> session_taken_over(const Invocation& call, const std::string& desktop) {
  RS_TRY(const auto rows, call.context.store.sessions(false));  // oldest first
  const auto latest = std::find_if(rows.rbegin(), rows.rend(),
                                   [&](const SessionRow& each) { return each.desktop == desktop; });
  if (latest == rows.rend() || latest->state != SessionState::superseded) return std::optional<SessionInfo>();
  RS_TRY(auto session, call.context.sessions.find(latest->id.to_string()));
  return std::optional(std::move(session));
}

// The session whose provenance journal lies on the disk; zero: none.
Result<Guid> session_on(const compose::WindowsDisk& windows, const std::string& profile_root) {
  constexpr std::uint64_t kEnoughForHeader = 1 << 20;
  const auto& volume = windows.volume();
  const auto found = volume.lookup(extract::Request().provenance_path);
  if (!found && found.error().code == ErrorCode::not_found) return Guid();
  RS_TRY(const auto reference, found);
  RS_TRY(const auto record, volume.record(reference.record));
  for (const auto& stream : record.streams) {
    if (!stream.name.empty()) continue;
    Bytes beginning(static_cast<std::size_t>(std::min(stream.size_bytes, kEnoughForHeader)));
    RS_CHECK(volume.read(stream, 0, beginning));
    const auto journal = extract::Provenance::parse(beginning);
    // One that was only just begun: nothing it may speak of counts yet.
    if (!journal && journal.error().code == ErrorCode::corrupt && !volume.lookup(profile_root)) return Guid();
    if (!journal) return fail(journal.error());
    return journal->header().session;
  }
  return Guid();
}

const char* discard_hint() { return ", or give --discard-unsent and lose what it has not sent"; }

// A desktop that is there saves its changes better than we could from its disk.
Result<void> wait_for_log_out(const Invocation& call, const std::string& desktop) {
  constexpr std::uint64_t kDefaultSeconds = 30, kMostSeconds = 600;
  RS_TRY(const auto seconds, number_field_or(call.request, "within_seconds", kDefaultSeconds));
  if (seconds > kMostSeconds)
    return fail(ErrorCode::invalid_argument, "'within_seconds' is at most " + std::to_string(kMostSeconds));
  const auto within = std::chrono::seconds(seconds);
  const auto until = Clock::now() + within;
  RS_TRY(auto sessions, sessions_of(call, desktop));
  for (const auto& session : sessions)
    if (session.connected) {
      // Gone in this moment: the next look tells.
      auto asked =
          call.context.sessions.ask_to_close(session.row.id.to_string(), within, "its desktop is set back");
      if (!asked && asked.error().code != ErrorCode::not_found &&
          asked.error().code != ErrorCode::unavailable)
        return asked;
    }
  while (!sessions.empty() && call.context.sessions.is_connected(desktop)) {
    if (Clock::now() >= until)
      return fail(ErrorCode::busy, "desktop '" + desktop + "' has a session of profile '" +
                                       sessions.front().row.profile_name + "', and did not log out within " +
                                       std::to_string(seconds) + " s: log its user out" + discard_hint());
    if (call.progress) call.progress({"waiting for " + desktop + " to log out", 0, 0});
    std::this_thread::sleep_for(kLook);
    RS_TRY(sessions, sessions_of(call, desktop));
  }
  return {};
}

}  // namespace

Result<std::set<std::string>> desktops_to_fence(const Invocation& call) {
  RS_TRY(const auto rows, call.context.store.sessions(false));  // oldest first
  std::set<std::string> desktops;
  for (const auto& row : rows)
    if (row.state == SessionState::closed)
      desktops.erase(row.desktop);
    else
      desktops.insert(row.desktop);
  for (const auto& row : rows)
    if (row.state == SessionState::active) desktops.insert(row.desktop);
  return desktops;
}

Result<Fenced> fence_clone(const Invocation& call, const compose::PoolSpec& spec,
                           const compose::CloneRow& clone) {
  const auto given = call.request.find("discard_unsent");
  const bool discard = given != call.request.end() && given->is_boolean() && given->get<bool>();
  const auto& desktop = clone.name;
  Fenced fenced;
  fenced.saved = json::array();
  fenced.openings = call.context.sessions.shut_openings(desktop);
  if (!discard) RS_CHECK(wait_for_log_out(call, desktop));
  if (call.context.snapshots != nullptr) fenced.snapshots = call.context.snapshots->shut(desktop);
  RS_TRY(auto sessions, sessions_of(call, desktop));
  RS_TRY(const auto taken_over, session_taken_over(call, desktop));
  auto& files = os::real_file_system();
  const compose::PoolVms vms(files, spec);
  RS_TRY(const auto power, vms.power(desktop, clone.index));
  // Nobody can say that it is off: then who had a lease a moment ago may be writing.
  const bool coordinator_runs = call.context.metrics != nullptr;
  auto may_write = sessions;
  if (taken_over) may_write.push_back(*taken_over);
  for (const auto& session : may_write)
    if (!discard && power == hypervisor::Power::unknown && coordinator_runs && session.lease_seconds > 0)
      return fail(
          ErrorCode::busy,
          "desktop '" + desktop + "' has a session of profile '" + session.row.profile_name +
              "' and lost its connection just now: it may be running. Switch it off, and try again in " +
              std::to_string(static_cast<int>(session.lease_seconds) + 1) + " s" + discard_hint());
  if (!discard && power == hypervisor::Power::unknown && call.context.sessions.is_connected(desktop))
    return fail(ErrorCode::busy,
                "desktop '" + desktop + "' is connected, so it is running: switch it off" + discard_hint());
  if (power == hypervisor::Power::on) {
    RS_CHECK(vms.power_off(desktop, clone.index));
    fenced.was_on = true;
  }
  if (call.context.disconnect) call.context.disconnect(desktop);
  const auto disk = compose::current_top(files, compose::paths_of(spec, desktop).active);
  std::uint32_t partition = 0;
  RS_TRY(const bool there, files.exists(disk));  // or it was deleted, and what that should do is done again
  if ((!sessions.empty() || (taken_over && there)) && !discard) {
    const auto unread = "what desktop '" + desktop + "' has not sent cannot be read" + discard_hint();
    RS_TRY_CTX(const auto windows, unread, compose::WindowsDisk::open(files, disk));
    partition = windows->place().partition;
    if (taken_over) {
      RS_TRY_CTX(const auto on_disk, unread, session_on(*windows, taken_over->row.profile_root));
      if (on_disk == taken_over->row.id) sessions.push_back(*taken_over);
    }
  }
  for (const auto& session : sessions) {
    if (discard) {
      RS_CHECK(call.context.sessions.give_up(session.row.id));
      continue;
    }
    RS_TRY_CTX(auto saved, "what desktop '" + desktop + "' has not sent cannot be saved" + discard_hint(),
               save_from_disk(call, session, disk, partition));
    if (session.row.state == SessionState::active || saved.contains("version"))
      fenced.saved.push_back(std::move(saved));
  }
  return fenced;
}

}  // namespace roamstead::server
