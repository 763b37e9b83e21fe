// What administrators may do to a repository that is in use. One implementation: the command line runs it in
// its own process when nobody holds the repository, and otherwise asks the coordinator, which runs it for
// whoever connects to its Unix socket.
//
// On the socket `<state directory>/admin.sock` a request is one line of JSON; the answer is lines of JSON:
//   {"progress": {"what": "...", "done": 1, "total": 2}}     any number of times; total 0: unknown
//   {"result": {...}}  or  {"error": {"code": "not_found", "message": "..."}}      once, at the end
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "coordinator/repository/repository.h"

namespace roamstead::admin {

struct Progress {
  std::string what;
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0: unknown
};
using ProgressSink = std::function<void(const Progress&)>;

// Requests ("command" names one):
//   {"command": "profile.create", "profile": NAME}
//   {"command": "profile.import", "profile": NAME, "source": DIRECTORY}     makes the profile if there is
//   none
//   {"command": "profile.restore", "profile": NAME, "version": N}           makes version N the content of a
//   new head
// The request is foreign input: missing or wrong fields are ErrorCode::invalid_argument. Blocks until done;
// thread-safe.
Result<nlohmann::json> execute(repository::Repository& repository, const nlohmann::json& request,
                               const ProgressSink& progress);

// The last line of an answer, and one of progress, without the line's end.
std::string answer_line(const Result<nlohmann::json>& result);
std::string progress_line(const Progress& progress);
// An error as an answer tells it; ErrorCode::internal when the code is unknown.
Error parse_error(const nlohmann::json& error);

// What commands and listings show of a profile and of a version.
nlohmann::json to_json(const repository::ProfileInfo& profile);
nlohmann::json to_json(const repository::VersionInfo& version);
std::string_view to_string(repository::VersionKind kind);

inline constexpr const char* kSocketName = "admin.sock";
inline constexpr std::size_t kMaxRequestBytes = 64u << 10;

}  // namespace roamstead::admin
