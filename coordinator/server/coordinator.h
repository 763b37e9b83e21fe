// The coordinator as a whole: repository, state, sessions, the listening server and the administrators'
// socket.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "coordinator/audit/audit_log.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/http/health_server.h"
#include "coordinator/rest/rest_server.h"
#include "coordinator/server/admin_socket.h"
#include "coordinator/server/extractor_table.h"
#include "coordinator/server/host_snapshots.h"
#include "coordinator/server/server.h"
#include "coordinator/server/vanished_recovery.h"

namespace roamstead::server {

struct CoordinatorOptions {
  std::string repository_directory;
  std::string state_directory;
  ServerOptions server;  // its state_directory is filled in
  SessionOptions sessions;
  std::string authority_directory = {};  // "": `ca` in the state directory
  std::string public_address = {};       // what desktops are told to connect to; "": where this listens
  std::string admin_socket = {};         // "": `admin.sock` in the state directory
  RoleGroups roles = {};                 // of the system's groups, at the administrators' socket
  std::string health_listen = {};        // for /livez, /readyz and /metrics; "": nobody is answered
  rest::RestOptions rest = {};           // its listen "": nobody is answered
  // How often it is looked whether desktops that vanished are off, and can be saved; 0: never.
  std::chrono::milliseconds vanished_recovery{60'000};
};

class Coordinator {
 public:
  // Opens the repository for writing and listens when it returns; the address is in `<state>/listen` then.
  static Result<std::unique_ptr<Coordinator>> start(CoordinatorOptions options, Faults faults);
  ~Coordinator();  // stops; what is being committed is finished

  std::string address() const { return server_->address(); }
  std::string health_address() const { return health_ ? health_->address() : std::string(); }
  std::string rest_address() const { return rest_ ? rest_->address() : std::string(); }
  Server& server() { return *server_; }
  StateStore& store() { return *store_; }
  SessionTable& sessions() { return *sessions_; }
  repository::Repository& repository() { return *repository_; }
  const identity::CertificateAuthority& authority() const { return *authority_; }
  audit::AuditLog& audit() { return *audit_; }
  CommandContext command_context();
  Result<nlohmann::json> execute(const Caller& caller, const nlohmann::json& request,
                                 const admin::ProgressSink& progress);
  // As the coordinator itself, which may do everything.
  Result<nlohmann::json> execute(const nlohmann::json& request, const admin::ProgressSink& progress);

 private:
  Coordinator() = default;
  void measure();  // what is asked of the moment, beside what is counted
  Result<void> answer_monitoring(const std::string& address);

  std::string public_address_;
  metrics::Registry metrics_;
  // Shared with threads that note something there until they have ended.
  struct Pulse {
    std::atomic<std::chrono::steady_clock::rep> last_alive{0};
    std::atomic<bool> storage_failed{false};
  };
  std::shared_ptr<Pulse> pulse_ = std::make_shared<Pulse>();

  // In the order in which they are made; taken down the other way round.
  std::unique_ptr<repository::Repository> repository_;
  std::unique_ptr<identity::CertificateAuthority> authority_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<audit::HeadStore> audit_head_;
  std::unique_ptr<audit::AuditLog> audit_;
  std::unique_ptr<compose::PoolStore> pools_;
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<ExtractorTable> extractors_;
  std::unique_ptr<HostSnapshots> snapshots_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<AdminSocket> admin_;
  std::unique_ptr<http::HealthServer> health_;
  std::unique_ptr<rest::RestServer> rest_;
  std::unique_ptr<VanishedRecovery> vanished_recovery_;
};

}  // namespace roamstead::server
