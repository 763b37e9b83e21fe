#include "coordinator/admin/commands.h"

#include "common/base/event.h"
#include "coordinator/admin/fork_commands.h"
#include "coordinator/repository/importer.h"

namespace roamstead::admin {
namespace {

using nlohmann::json;

Result<std::string> text_field(const json& request, const char* name) {
  auto found = request.find(name);
  if (found == request.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    return fail(ErrorCode::invalid_argument, std::string("the request needs a text '") + name + "'");
  return found->get<std::string>();
}

Result<json> create(repository::Repository& repository, const json& request) {
  RS_TRY(auto name, text_field(request, "profile"));
  RS_TRY(auto profile, repository.create_profile(name));
  return to_json(profile);
}

Result<json> restore(repository::Repository& repository, const json& request) {
  RS_TRY(auto name, text_field(request, "profile"));
  auto version = request.find("version");
  if (version == request.end() || !version->is_number_unsigned())
    return fail(ErrorCode::invalid_argument, "the request needs a number 'version'");
  RS_TRY(auto profile, repository.find_profile(name));
  RS_TRY(auto restored, repository.restore(profile.id, version->get<std::uint64_t>(), {}));
  return to_json(restored);
}

Result<json> import_profile(repository::Repository& repository, const json& request,
                            const ProgressSink& progress) {
  RS_TRY(auto name, text_field(request, "profile"));
  RS_TRY(auto source, text_field(request, "source"));
  repository::ImportProgress report = [&](std::uint64_t done, std::uint64_t total) {
    if (progress) progress({"importing " + name, done, total});
  };
  RS_TRY(auto imported, repository::import_directory(repository, name, source, report));
  auto result = to_json(imported.version);
  result["profile"] = name;
  result["files"] = imported.files;
  result["directories"] = imported.directories;
  result["hives"] = imported.hives;
  result["keys"] = imported.keys;
  result["bytes"] = imported.bytes;
  result["skipped"] = imported.skipped;
  return result;
}

}  // namespace

Result<json> execute(repository::Repository& repository, const json& request, const ProgressSink& progress) {
  if (!request.is_object()) return fail(ErrorCode::invalid_argument, "a request is a JSON object");
  RS_TRY(auto command, text_field(request, "command"));
  if (command == "profile.create") return create(repository, request);
  if (command == "profile.restore") return restore(repository, request);
  if (command == "profile.import") return import_profile(repository, request, progress);
  if (command == "profile.forks") return list_forks(repository, request);
  if (command == "profile.merge") return merge_fork(repository, request);
  if (command == "profile.discard") return discard_fork(repository, request);
  return fail(ErrorCode::invalid_argument, "no command '" + command + "'");
}

std::string answer_line(const Result<json>& result) {
  json answer;
  if (result) {
    answer["result"] = *result;
  } else {
    const auto message = result.error().to_string();
    answer["error"] = {{"code", roamstead::to_string(result.error().code)}, {"message", message}};
    if (auto event = event_in(message); !event.empty()) answer["error"]["event"] = event;
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string progress_line(const Progress& progress) {
  return json{{"progress", {{"what", progress.what}, {"done", progress.done}, {"total", progress.total}}}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Error parse_error(const json& error) {
  Error parsed(ErrorCode::internal, "the coordinator refused without saying why");
  if (!error.is_object()) return parsed;
  if (error.contains("message") && error["message"].is_string())
    parsed.message = error["message"].get<std::string>();
  if (error.contains("code") && error["code"].is_string())
    for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code)
      if (roamstead::to_string(static_cast<ErrorCode>(code)) == error["code"].get_ref<const std::string&>())
        parsed.code = static_cast<ErrorCode>(code);
  return parsed;
}

std::string_view to_string(repository::VersionKind kind) {
  switch (kind) {
    case repository::VersionKind::import:
      return "import";
    case repository::VersionKind::batch:
      return "batch";
    case repository::VersionKind::fork:
      return "fork";
    case repository::VersionKind::restore:
      return "restore";
    case repository::VersionKind::merge:
      return "merge";
    case repository::VersionKind::discard:
      return "discard";
    case repository::VersionKind::concurrent:
      return "concurrent";
  }
  return "unknown";
}

json to_json(const repository::ProfileInfo& profile) {
  return {{"id", profile.id.to_string()}, {"name", profile.name}, {"head", profile.head}};
}

json to_json(const repository::VersionInfo& version) {
  json held_back = json::array();
  for (const auto& item : version.held_back)
    held_back.push_back({{"path", item.path}, {"reason", item.reason}});
  return {{"version", version.number},
          {"parent", version.parent},
          {"kind", to_string(version.kind)},
          {"on_head_line", version.on_head_line},
          {"desktop", version.desktop},
          {"session", version.session.to_string()},
          {"incarnation", version.incarnation.to_string()},
          {"ordinal", version.ordinal},
          {"epoch", version.epoch},
          {"snapshot", version.snapshot.to_string()},
          {"final", version.final},
          {"committed_100ns", version.committed_100ns},
          {"records", version.records},
          {"new_bytes", version.new_bytes},
          {"merged", version.merged},
          {"logical_bytes",
           version.logical_bytes == repository::kUnknownBytes ? json() : json(version.logical_bytes)},
          {"held_back", std::move(held_back)}};
}

}  // namespace roamstead::admin
