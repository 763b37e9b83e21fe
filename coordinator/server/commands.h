// What administrators may do: see command_table.h for how each part of the coordinator adds its commands. The
// same code runs in the coordinator, for who asks at its Unix socket, and in the command line's own process
// while no coordinator runs.
#pragma once

#include <functional>
#include <string>

#include "coordinator/admin/commands.h"
#include "coordinator/identity/certificate_authority.h"
#include "coordinator/server/caller.h"
#include "coordinator/server/extractor_table.h"
#include "coordinator/server/session_table.h"

namespace roamstead::audit {
class AuditLog;
}
namespace roamstead::compose {
class PoolStore;
}
namespace roamstead::metrics {
class Registry;
}

namespace roamstead::server {

class HostSnapshots;

// All must outlive the call.
struct CommandContext {
  repository::Repository& repository;
  StateStore& store;
  SessionTable& sessions;
  const identity::CertificateAuthority& authority;
  std::string address;                                 // where desktops find this coordinator
  std::function<void(const std::string&)> disconnect;  // ends a desktop's connections; may be empty
  ExtractorTable& extractors;
  audit::AuditLog* audit = nullptr;            // null: nothing is recorded (tests)
  compose::PoolStore* pools = nullptr;         // null: no images and pools are kept (tests)
  const metrics::Registry* metrics = nullptr;  // null: no coordinator runs
  HostSnapshots* snapshots = nullptr;          // null: none are made
};

// Requests ("command" names one; the *_commands.cpp files add them to command_table.h):
//   {"command": "desktop.enroll", "desktop": NAME, "address": "host:port"?, "pool": NAME?}
//       the answer holds the key: a secret
//   {"command": "desktop.list"}
//   {"command": "desktop.revoke", "desktop": NAME}
//   {"command": "desktop.prepare", "desktop": NAME, "profile": NAME}
//   {"command": "desktop-pool.create" | "desktop-pool.set", "pool": NAME, "session_policy": TEXT?,
//   "quota_bytes": N?}
//   {"command": "desktop-pool.list"}
//   {"command": "desktop-pool.settings.set", "pool": NAME, "text": TOML?}    without: none
//   {"command": "desktop-pool.settings.show", "pool": NAME}
//   {"command": "desktop-pool.move", "desktop": NAME, "pool": NAME}
//   {"command": "token.create", "pool": NAME?, "uses": N?, "life_s": N?}    the answer holds the token: a
//   secret
//   {"command": "token.list"}, {"command": "token.revoke", "id": ID}
//   {"command": "administrator.certify", "administrator": NAME, "role": TEXT, "request_pem": PKCS #10,
//   "life_s": N?}
//   {"command": "administrator.list"}
//   {"command": "administrator.revoke", "administrator": NAME, "serial": TEXT?}
//   {"command": "assignment.add", "desktop": NAME, "profile": NAME, "until_100ns": N?}
//   {"command": "assignment.remove", "desktop": NAME, "profile": NAME}
//   {"command": "assignment.list"}
//   {"command": "group.create" | "group.delete", "group": NAME}, {"command": "group.list"}
//   {"command": "group.add" | "group.remove", "group": NAME, "profile": NAME}
//   {"command": "rule.add" | "rule.remove", "pool": NAME, "group": NAME, "until_100ns": N?}
//   {"command": "audit.show", "since": ISO 8601?, "desktop": NAME?, "limit": N?}
//   {"command": "audit.verify", "archived": true?}
//   {"command": "profile.list"}, {"command": "profile.versions", "profile": NAME}
//   {"command": "repository.statistics"}, {"command": "repository.check"}
//   {"command": "status.show"}    what /metrics tells, as JSON
//   {"command": "profile.quota", "profile": NAME, "quota_bytes": N?}     0: no limit; without: as its pools
//   say
//   {"command": "profile.show", "profile": NAME}
//   {"command": "session.list", "all": true?}
//   {"command": "session.close", "session": ID or profile's NAME, "within_seconds": N?, "reason": TEXT?}
//   {"command": "session.extract", "session": ID or profile's NAME, "disk": PATH, "partition": N?}
//   {"command": "image.import", "image": NAME, "disk": PATH}
//   {"command": "image.list"}, {"command": "image.show" | "image.forget", "image": NAME}
//   {"command": "pool.plan" | "pool.create", "specification": TOML, "directory": PATH, "source": NAME?}
//   {"command": "pool.list"}, {"command": "pool.show", "pool": NAME}
//   {"command": "pool.delete", "pool": NAME, "discard_unsent": true?, "within_seconds": N?}
//   {"command": "clone.list", "pool": NAME?}, {"command": "clone.show" | "clone.diff", "clone": NAME}
//   {"command": "clone.refresh" | "clone.delete", "clone": NAME, "discard_unsent": true?, "within_seconds":
//   N?}
//   {"command": "session.recover-layer", "desktop": NAME, "disk": PATH?, "partition": N?}
//   {"command": "desktop.disk", "desktop": NAME, "disk": PATH or "", "partition": N?}
// and those of coordinator/admin/commands.h.
// The request is foreign input. ErrorCode::denied, naming the role that is needed, when the caller's is too
// low. What was done, failed or was refused is in the audit log when it returns. Blocks; thread-safe.
Result<nlohmann::json> execute(const CommandContext& context, const Caller& caller,
                               const nlohmann::json& request, const admin::ProgressSink& progress);

// Whether the caller's role suffices; the refusal is recorded.
Result<void> check_role(const CommandContext& context, const Caller& caller, const nlohmann::json& request);
// Whether `desktop.prepare` can be done once the desktop has a connection.
Result<void> check_prepare(const CommandContext& context, const nlohmann::json& request);

// The same on a repository that this process has open, with the state directory's database and authority.
// Whoever can open those may do everything.
Result<nlohmann::json> execute_alone(repository::Repository& repository, const std::string& state_directory,
                                     const nlohmann::json& request, const admin::ProgressSink& progress);

inline constexpr const char* kAuditDirectory = "audit";  // in the state directory
inline constexpr const char* kMapDirectory = "maps";     // in the state directory: of disks looked at
inline constexpr const char* kWorkingSetDirectory = "working-sets";
inline constexpr const char* kListenFile = "listen";  // in the state directory: where the coordinator listens
inline constexpr const char* kRestListenFile = "rest-listen";  // and where for administrators over TLS
inline constexpr const char* kDefaultListen = "127.0.0.1:7420";

}  // namespace roamstead::server
