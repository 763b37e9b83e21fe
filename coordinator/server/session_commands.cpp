// Sessions as administrators see them, and the saving of what a dead desktop did not send.
#include "coordinator/server/clone_fence.h"
#include "coordinator/server/command_table.h"
#include "coordinator/server/saved_layer.h"

#include "common/extract/extract.h"

namespace roamstead::server {

using nlohmann::json;

Result<json> save_from_disk(const Invocation& call, const SessionInfo& session, const std::string& disk,
                            std::uint32_t partition) {
  extract::Request wanted;
  wanted.frozen_path = disk;
  wanted.quiesced = false;
  wanted.ended = true;
  wanted.partition = partition;
  std::unique_ptr<HostSnapshots::Shut> alone;
  if (call.context.snapshots != nullptr) alone = call.context.snapshots->shut(session.row.desktop);
  RS_TRY(const auto cut_from, call.context.sessions.snapshots(session.row.id));
  RS_TRY_CTX(wanted.below_id, "extracting " + disk, saved_layer(disk, cut_from));
  if (call.progress) call.progress({"reading " + disk, 0, 0});
  RS_TRY_CTX(auto extraction, "extracting " + disk, call.context.extractors.find(disk)->extract(wanted));
  if (!extraction->journal() || extraction->journal()->session != session.row.id)
    return fail(ErrorCode::conflict,
                disk + ": holds " +
                    (extraction->journal() ? "session " + extraction->journal()->session.to_string()
                                           : std::string("no session")) +
                    ", not session " + session.row.id.to_string() + " of '" + session.row.profile_name + "'");
  const auto& batch = extraction->batch();
  if (call.progress) call.progress({"saving", 0, batch.records.size()});
  RS_TRY(auto saved,
         call.context.sessions.bury(session.row.id, wanted.below_id, batch, extraction->content()));
  auto held_back = json::array();
  for (const auto& item : batch.held_back)
    held_back.push_back({{"path", item.path}, {"reason", item.reason}});
  json result{{"session", session.row.id.to_string()},
              {"profile", session.row.profile_name},
              {"desktop", session.row.desktop},
              {"records", batch.records.size()},
              {"content_bytes", batch.content_bytes()},
              {"delta_bytes", extraction->statistics().delta_bytes},
              {"files_examined", extraction->statistics().files_examined},
              {"held_back", held_back}};
  if (saved) {
    result["version"] = saved->version;
    result["forked"] = saved->forked;
  }
  return result;
}

namespace {

const char* name_of(SessionState state) {
  switch (state) {
    case SessionState::active:
      return "active";
    case SessionState::closed:
      return "closed";
    case SessionState::superseded:
      return "superseded";
  }
  return "unknown";
}

const char* name_of(SessionMode mode) {
  switch (mode) {
    case SessionMode::exclusive:
      return "exclusive";
    case SessionMode::reader:
      return "reader";
    case SessionMode::concurrent:
      return "concurrent";
  }
  return "unknown";
}

json to_json(const SessionInfo& info) {
  json session{{"session", info.row.id.to_string()},
               {"profile", info.row.profile_name},
               {"desktop", info.row.desktop},
               {"state", name_of(info.row.state)},
               {"epoch", info.row.epoch},
               {"pinned_version", info.row.version},
               {"last_version", info.last_version},
               {"last_ordinal", info.last_ordinal},
               {"opened_100ns", info.row.opened_100ns}};
  session["mode"] = name_of(info.row.mode);
  if (info.row.state == SessionState::active) {
    session["lease_seconds_left"] = info.lease_seconds;
    session["connected"] = info.connected;
    session["vanished"] = info.vanished;
    session["use"] = wire::to_string(info.use);
    session["over_quota"] = info.refused_bytes != 0;
    if (!info.wanted_by.empty()) session["wanted_by"] = info.wanted_by;
  } else {
    session["ended_100ns"] = info.row.ended_100ns;
  }
  return session;
}

Result<json> list_sessions(const Invocation& call) {
  bool all =
      call.request.contains("all") && call.request["all"].is_boolean() && call.request["all"].get<bool>();
  RS_TRY(auto sessions, call.context.sessions.sessions(!all));
  auto list = json::array();
  for (const auto& session : sessions) list.push_back(to_json(session));
  return json{{"sessions", list}};
}

// Asks a desktop to log its user out; what becomes of it shows in the list.
Result<json> close_session(const Invocation& call) {
  constexpr std::uint64_t kDefaultSeconds = 60, kMostSeconds = 24 * 3600;
  RS_TRY(auto which, text_field(call.request, "session"));
  RS_TRY(auto why, text_field_or(call.request, "reason", "an administrator wants it"));
  RS_TRY(auto seconds, number_field_or(call.request, "within_seconds", kDefaultSeconds));
  if (seconds > kMostSeconds)
    return fail(ErrorCode::invalid_argument, "'within_seconds' is at most " + std::to_string(kMostSeconds));
  RS_CHECK(call.context.sessions.ask_to_close(which, std::chrono::seconds(seconds), why));
  return json{{"session", which}, {"asked", true}, {"within_seconds", seconds}};
}

Result<std::uint32_t> partition_field(const json& request, std::uint32_t otherwise) {
  RS_TRY(auto partition, number_field_or(request, "partition", otherwise));
  if (partition > 128) return fail(ErrorCode::invalid_argument, "'partition' is a number up to 128");
  return static_cast<std::uint32_t>(partition);
}

// The changes a dead desktop did not send, of one session.
Result<json> extract_session(const Invocation& call) {
  RS_TRY(auto which, text_field(call.request, "session"));
  RS_TRY(auto disk, text_field(call.request, "disk"));
  RS_TRY(auto partition, partition_field(call.request, 0));
  RS_TRY(auto session, call.context.sessions.find(which));
  return save_from_disk(call, session, disk, partition);
}

// The same of whatever sessions a desktop that has vanished had open; its disk is known, or given.
Result<json> recover_layer(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "desktop"));
  RS_TRY(auto desktops, call.context.store.desktops());
  const Desktop* desktop = nullptr;
  for (const auto& each : desktops)
    if (each.name == name && (desktop == nullptr || each.revoked_100ns == 0)) desktop = &each;
  if (desktop == nullptr) return fail(ErrorCode::not_found, "no desktop '" + name + "'");
  RS_TRY(auto disk, text_field_or(call.request, "disk", desktop->disk.empty() ? "" : desktop->disk));
  RS_TRY(auto partition, partition_field(call.request, desktop->partition));
  if (disk.empty())
    return fail(
        ErrorCode::invalid_argument,
        "where the disk of desktop '" + name + "' is, is not known: say --disk, or 'roamstead desktop disk'");
  // What it still writes would be missing, and its session would be ended under it.
  if (call.context.sessions.is_connected(name))
    return fail(ErrorCode::busy, "desktop '" + name +
                                     "' has a connection: it is alive, and sends what it has by itself "
                                     "('roamstead session close' asks it to log out)");
  RS_TRY(auto sessions, call.context.sessions.sessions(true));
  auto saved = json::array();
  for (const auto& session : sessions) {
    if (session.row.desktop != name) continue;
    RS_TRY(auto result, save_from_disk(call, session, disk, partition));
    saved.push_back(std::move(result));
  }
  if (saved.empty())
    return fail(ErrorCode::not_found, "desktop '" + name +
                                          "' has no session open; for one that was handed over: "
                                          "'roamstead session extract'");
  return json{{"desktop", name}, {"disk", disk}, {"sessions", std::move(saved)}};
}

}  // namespace

void add_session_commands(CommandTable& table) {
  table.add({"session.list", Role::viewer, list_sessions, {}});
  table.add({"session.close", Role::operator_, close_session, {"session", "within_seconds", "reason"}});
  // Reads any disk of the host.
  table.add({"session.extract", Role::administrator, extract_session, {"session", "disk"}});
  table.add({"session.recover-layer", Role::administrator, recover_layer, {"desktop", "disk"}});
}

}  // namespace roamstead::server
