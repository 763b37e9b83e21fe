#include "coordinator/server/commands.h"

#include <algorithm>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/extract/extract.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

Result<std::string> text_field(const json& request, const char* name) {
  auto found = request.find(name);
  if (found == request.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    return fail(ErrorCode::invalid_argument, std::string("the request needs a text '") + name + "'");
  return found->get<std::string>();
}

Result<json> enroll(const CommandContext& context, const json& request) {
  RS_TRY(auto name, text_field(request, "desktop"));
  auto address = context.address;
  if (request.contains("address")) {
    RS_TRY(address, text_field(request, "address"));
  }
  RS_TRY(auto issued, context.authority.issue_desktop(name));
  RS_CHECK(context.store.add_desktop({name, issued.serial, now_100ns(), 0}));
  log_info("desktop '{}' enrolled, certificate {}", name, issued.serial);
  return json{{"desktop", name},
              {"serial", issued.serial},
              {"coordinator", address},
              {"key_pem", issued.key_pem},
              {"certificate_pem", issued.certificate_pem},
              {"ca_pem", context.authority.certificate_pem()}};
}

Result<json> list_desktops(const CommandContext& context) {
  RS_TRY(auto desktops, context.store.desktops());
  auto list = json::array();
  for (const auto& desktop : desktops)
    list.push_back({{"desktop", desktop.name},
                    {"serial", desktop.serial},
                    {"enrolled_100ns", desktop.enrolled_100ns},
                    {"revoked", desktop.revoked_100ns != 0}});
  return json{{"desktops", list}};
}

Result<json> revoke(const CommandContext& context, const json& request) {
  RS_TRY(auto name, text_field(request, "desktop"));
  RS_CHECK(context.store.revoke_desktop(name, now_100ns()));
  if (context.disconnect) context.disconnect(name);
  log_info("desktop '{}' revoked", name);
  return json{{"desktop", name}, {"revoked", true}};
}

Result<json> change_assignment(const CommandContext& context, const json& request, bool add) {
  RS_TRY(auto desktop, text_field(request, "desktop"));
  RS_TRY(auto name, text_field(request, "profile"));
  RS_TRY(auto profile, context.repository.find_profile(name));
  if (add) {
    RS_TRY(auto desktops, context.store.desktops());
    bool enrolled = std::any_of(desktops.begin(), desktops.end(), [&](const Desktop& each) {
      return each.name == desktop && each.revoked_100ns == 0;
    });
    if (!enrolled) return fail(ErrorCode::not_found, "no desktop '" + desktop + "' is enrolled");
    RS_CHECK(context.store.assign({desktop, profile.id, profile.name}));
  } else {
    RS_CHECK(context.store.unassign(desktop, profile.id));
  }
  log_info("profile '{}' {} desktop '{}'", profile.name, add ? "assigned to" : "no longer assigned to",
           desktop);
  return json{{"desktop", desktop}, {"profile", profile.name}, {"assigned", add}};
}

Result<json> list_assignments(const CommandContext& context) {
  RS_TRY(auto assignments, context.store.assignments());
  auto list = json::array();
  for (const auto& each : assignments)
    list.push_back({{"desktop", each.desktop}, {"profile", each.profile_name}});
  return json{{"assignments", list}};
}

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
  if (info.row.state == SessionState::active)
    session["lease_seconds_left"] = info.lease_seconds;
  else
    session["ended_100ns"] = info.row.ended_100ns;
  return session;
}

Result<json> list_sessions(const CommandContext& context, const json& request) {
  bool all = request.contains("all") && request["all"].is_boolean() && request["all"].get<bool>();
  RS_TRY(auto sessions, context.sessions.sessions(!all));
  auto list = json::array();
  for (const auto& session : sessions) list.push_back(to_json(session));
  return json{{"sessions", list}};
}

// The changes a dead desktop did not send, read from its disk.
Result<json> extract_session(const CommandContext& context, const json& request,
                             const admin::ProgressSink& progress) {
  RS_TRY(auto which, text_field(request, "session"));
  RS_TRY(auto disk, text_field(request, "disk"));
  RS_TRY(auto session, context.sessions.find(which));
  extract::Request wanted;
  wanted.frozen_path = disk;
  wanted.below_id = session.last_snapshot;
  wanted.quiesced = false;
  if (auto partition = request.find("partition"); partition != request.end()) {
    if (!partition->is_number_unsigned() || partition->get<std::uint64_t>() > 128)
      return fail(ErrorCode::invalid_argument, "'partition' is a number up to 128");
    wanted.partition = partition->get<std::uint32_t>();
  }
  if (progress) progress({"reading " + disk, 0, 0});
  RS_TRY_CTX(auto extraction, "extracting " + disk, context.extractors.find(disk)->extract(wanted));
  if (!extraction->journal() || extraction->journal()->session != session.row.id)
    return fail(ErrorCode::conflict,
                disk + ": holds " +
                    (extraction->journal() ? "session " + extraction->journal()->session.to_string()
                                           : std::string("no session")) +
                    ", not session " + session.row.id.to_string() + " of '" + session.row.profile_name + "'");
  const auto& batch = extraction->batch();
  if (progress) progress({"saving", 0, batch.records.size()});
  RS_TRY(auto saved, context.sessions.bury(session.row.id, batch, extraction->content()));
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

}  // namespace

Result<json> execute(const CommandContext& context, const json& request,
                     const admin::ProgressSink& progress) {
  if (!request.is_object()) return fail(ErrorCode::invalid_argument, "a request is a JSON object");
  RS_TRY(auto command, text_field(request, "command"));
  if (command == "desktop.enroll") return enroll(context, request);
  if (command == "desktop.list") return list_desktops(context);
  if (command == "desktop.revoke") return revoke(context, request);
  if (command == "assignment.add") return change_assignment(context, request, true);
  if (command == "assignment.remove") return change_assignment(context, request, false);
  if (command == "assignment.list") return list_assignments(context);
  if (command == "session.list") return list_sessions(context, request);
  if (command == "session.extract") return extract_session(context, request, progress);
  return admin::execute(context.repository, request, progress);
}

Result<json> execute_alone(repository::Repository& repository, const std::string& state_directory,
                           const json& request, const admin::ProgressSink& progress) {
  auto& files = os::real_file_system();
  RS_CHECK(files.make_directories(state_directory));
  RS_TRY(auto authority, identity::CertificateAuthority::open_or_create(
                             files, os::join_path(state_directory, kAuthorityDirectory)));
  RS_TRY(auto store, StateStore::open(state_directory));
  RS_TRY(auto sessions, SessionTable::create(*store, repository, {}, {}));
  std::string address = kDefaultListen;
  if (auto listen = os::read_file(files, os::join_path(state_directory, kListenFile), 1024)) {
    address = std::string(as_text(*listen));
    while (!address.empty() && address.back() == '\n') address.pop_back();
  }
  ExtractorTable extractors(files, os::join_path(state_directory, kMapDirectory));
  return execute({repository, *store, *sessions, authority, address, {}, extractors}, request, progress);
}

}  // namespace roamstead::server
