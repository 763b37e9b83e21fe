// What administrators may do with a profile's forks.
#pragma once

#include "coordinator/admin/commands.h"
#include "coordinator/repository/forks.h"

namespace roamstead::admin {

// Requests:
//   {"command": "profile.forks", "profile": NAME, "all": true?}    merged and discarded ones too
//   {"command": "profile.merge", "profile": NAME, "fork": VERSION, "dry_run": true?}
//   {"command": "profile.discard", "profile": NAME, "fork": VERSION}
// Foreign input; blocks until done; thread-safe.
Result<nlohmann::json> list_forks(repository::Repository& repository, const nlohmann::json& request);
Result<nlohmann::json> merge_fork(repository::Repository& repository, const nlohmann::json& request);
Result<nlohmann::json> discard_fork(repository::Repository& repository, const nlohmann::json& request);

nlohmann::json to_json(const repository::Fork& fork);
nlohmann::json to_json(const repository::MergeResult& merged);

}  // namespace roamstead::admin
