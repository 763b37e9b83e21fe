#include "coordinator/admin/fork_commands.h"

#include "common/base/log.h"

namespace roamstead::admin {
namespace {

using nlohmann::json;

struct Choice {
  repository::ProfileInfo profile;
  std::uint64_t fork = 0;
};

Result<repository::ProfileInfo> profile_in(repository::Repository& repository, const json& request) {
  auto name = request.find("profile");
  if (name == request.end() || !name->is_string())
    return fail(ErrorCode::invalid_argument, "the request needs a text 'profile'");
  return repository.find_profile(name->get<std::string>());
}

Result<Choice> fork_in(repository::Repository& repository, const json& request) {
  Choice choice;
  RS_TRY(choice.profile, profile_in(repository, request));
  auto fork = request.find("fork");
  if (fork == request.end() || !fork->is_number_unsigned())
    return fail(ErrorCode::invalid_argument, "the request needs a number 'fork'");
  choice.fork = fork->get<std::uint64_t>();
  return choice;
}

bool flag_in(const json& request, const char* name) {
  auto flag = request.find(name);
  return flag != request.end() && flag->is_boolean() && flag->get<bool>();
}

const char* name_of(repository::MergeConflict::Kind kind) {
  switch (kind) {
    case repository::MergeConflict::Kind::both_changed:
      return "both-changed";
    case repository::MergeConflict::Kind::deleted_ours:
      return "deleted-at-head";
    case repository::MergeConflict::Kind::deleted_theirs:
      return "deleted-in-fork";
  }
  return "unknown";
}

}  // namespace

json to_json(const repository::Fork& fork) {
  return {{"fork", fork.version},
          {"base", fork.base},
          {"versions", fork.versions},
          {"records", fork.records},
          {"desktop", fork.desktop},
          {"session", fork.session.to_string()},
          {"committed_100ns", fork.committed_100ns},
          {"merged", fork.merged},
          {"discarded", fork.discarded}};
}

json to_json(const repository::MergeResult& merged) {
  auto conflicts = json::array();
  for (const auto& conflict : merged.conflicts)
    conflicts.push_back({{"kind", name_of(conflict.kind)},
                         {"path", conflict.path},
                         {"kept_as", conflict.kept_as},
                         {"text", to_string(conflict)}});
  json result{{"fork", merged.fork},
              {"base", merged.base},
              {"head", merged.head},
              {"records", merged.records},
              {"conflicts", std::move(conflicts)}};
  if (merged.version) {
    result["version"] = merged.version->number;
    result["new_bytes"] = merged.version->new_bytes;
  }
  return result;
}

Result<json> list_forks(repository::Repository& repository, const json& request) {
  RS_TRY(auto profile, profile_in(repository, request));
  RS_TRY(auto versions, repository.versions(profile.id));
  auto list = json::array();
  for (const auto& fork : repository::forks_of(versions))
    if (fork.is_open() || flag_in(request, "all")) list.push_back(to_json(fork));
  return json{{"profile", profile.name}, {"forks", std::move(list)}};
}

Result<json> merge_fork(repository::Repository& repository, const json& request) {
  RS_TRY(auto choice, fork_in(repository, request));
  const bool dry_run = flag_in(request, "dry_run");
  RS_TRY(auto merged, repository.merge(choice.profile.id, choice.fork, dry_run, {}));
  if (!dry_run)
    log_info("fork {} of '{}' merged as version {}, {} conflicts", choice.fork, choice.profile.name,
             merged.version->number, merged.conflicts.size());
  auto result = to_json(merged);
  result["profile"] = choice.profile.name;
  return result;
}

Result<json> discard_fork(repository::Repository& repository, const json& request) {
  RS_TRY(auto choice, fork_in(repository, request));
  RS_TRY(auto mark, repository.discard(choice.profile.id, choice.fork, {}));
  log_info("fork {} of '{}' discarded", choice.fork, choice.profile.name);
  return json{{"profile", choice.profile.name}, {"fork", choice.fork}, {"mark", mark.number}};
}

}  // namespace roamstead::admin
