#include "coordinator/server/coordinator.h"

#include "common/base/log.h"
#include "coordinator/server/agent_settings.h"
#include "coordinator/server/audit_head.h"
#include "coordinator/server/authority_place.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/profile_rules.h"
#include "coordinator/server/quota.h"

namespace roamstead::server {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kAliveInterval{5'000};
constexpr std::chrono::seconds kNotAlive{30};

}  // namespace

Result<std::unique_ptr<Coordinator>> Coordinator::start(CoordinatorOptions options, Faults faults) {
  auto& files = os::real_file_system();
  std::unique_ptr<Coordinator> coordinator(new Coordinator());
  const auto& state = options.state_directory;
  coordinator->public_address_ = options.public_address;
  RS_CHECK(files.make_directories(state));
  RS_TRY(coordinator->repository_,
         repository::Repository::open(files, {options.repository_directory, state, false}, faults));
  RS_TRY(auto authority, open_authority(files, state, options.authority_directory));
  coordinator->authority_ = std::make_unique<identity::CertificateAuthority>(std::move(authority));
  RS_TRY(coordinator->store_, StateStore::open(state));
  coordinator->audit_head_ = std::make_unique<StoredAuditHead>(*coordinator->store_);
  RS_TRY(coordinator->pools_, compose::PoolStore::open(options.state_directory));
  RS_TRY(coordinator->audit_,
         audit::AuditLog::open(files, os::join_path(state, kAuditDirectory), *coordinator->audit_head_));
  options.sessions.audit = coordinator->audit_.get();
  options.sessions.policy_of = [store = coordinator->store_.get()](const std::string& desktop) {
    auto pool = store->pool_of(desktop);
    if (!pool) return SessionPolicy::takeover;
    return parse_session_policy(pool->session_policy).value_or(SessionPolicy::takeover);
  };
  options.sessions.quota_of = [store = coordinator->store_.get()](const std::string& desktop,
                                                                  const repository::ProfileId& profile) {
    return quota_for(*store, desktop, profile).bytes;
  };
  options.sessions.rules_of = [rules = std::make_shared<ProfileRules>(*coordinator->store_)](
                                  const std::string& desktop, const repository::ProfileId& profile) {
    return rules->canonical(desktop, profile);
  };
  if (options.sessions.working_set_directory.empty())
    options.sessions.working_set_directory = os::join_path(state, kWorkingSetDirectory);
  options.sessions.on_storage_failure =
      [pulse = coordinator->pulse_,
       also = std::move(options.sessions.on_storage_failure)](const Error& error) {
        pulse->storage_failed = true;
        if (also) also(error);
      };
  RS_TRY(coordinator->sessions_,
         SessionTable::create(*coordinator->store_, *coordinator->repository_, options.sessions, faults));
  coordinator->extractors_ = std::make_unique<ExtractorTable>(files, os::join_path(state, kMapDirectory));
  coordinator->snapshots_ = std::make_unique<HostSnapshots>(*coordinator->sessions_, *coordinator->pools_,
                                                            *coordinator->extractors_, std::move(faults));
  options.server.snapshots = coordinator->snapshots_.get();
  options.server.settings_of =
      [settings = std::make_shared<AgentSettingsOfPools>(*coordinator->store_, coordinator->pools_.get())](
          const std::string& desktop) { return settings->of(desktop); };
  options.server.state_directory = state;
  options.server.audit = coordinator->audit_.get();
  options.server.metrics = &coordinator->metrics_;
  options.server.first_boot = [pools = coordinator->pools_.get()](const std::string& desktop,
                                                                  const wire::FirstBootReport& report) {
    return compose::note_first_boot(*pools, desktop, compose::judge_first_boot(report.steps, report.state));
  };
  if (options.server.alive_interval.count() == 0) options.server.alive_interval = kAliveInterval;
  coordinator->pulse_->last_alive = Clock::now().time_since_epoch().count();
  options.server.on_alive = [pulse = coordinator->pulse_, also = std::move(options.server.on_alive)] {
    pulse->last_alive = Clock::now().time_since_epoch().count();
    if (also) also();
  };
  RS_TRY(coordinator->server_, Server::start(options.server, *coordinator->authority_, *coordinator->store_,
                                             *coordinator->sessions_));
  auto execute = [raw = coordinator.get()](const Caller& caller, const nlohmann::json& request,
                                           const admin::ProgressSink& progress) {
    return raw->execute(caller, request, progress);
  };
  auto refused = [raw = coordinator.get()](const Error& why) {
    raw->audit_->append(
        {"admin.connect", "user", "administrators' socket", audit::Outcome::refused, why.to_string(), {}});
  };
  RS_TRY(coordinator->admin_,
         AdminSocket::listen(
             options.admin_socket.empty() ? os::join_path(state, admin::kSocketName) : options.admin_socket,
             options.roles, std::move(execute), std::move(refused)));
  RS_CHECK(os::write_file_durably(files, os::join_path(state, kListenFile),
                                  as_bytes(coordinator->address() + "\n")));
  coordinator->measure();
  if (!options.health_listen.empty()) RS_CHECK(coordinator->answer_monitoring(options.health_listen));
  if (!options.rest.listen.empty()) {
    auto context = [raw = coordinator.get()] { return raw->command_context(); };
    RS_TRY(coordinator->rest_, rest::RestServer::start(options.rest, std::move(context)));
    RS_CHECK(os::write_file_durably(files, os::join_path(state, kRestListenFile),
                                    as_bytes(coordinator->rest_address() + "\n")));
    log_info("REST for administrators on {}", coordinator->rest_address());
  }
  if (options.vanished_recovery.count() > 0)
    coordinator->vanished_recovery_ = std::make_unique<VanishedRecovery>(
        [raw = coordinator.get()] { return raw->command_context(); }, options.vanished_recovery);
  return coordinator;
}

Coordinator::~Coordinator() = default;

void Coordinator::measure() {
  using Values = metrics::Registry::Values;
  metrics_.gauge("roamstead_connections", "Connections of desktops", [this] {
    return Values{{{}, static_cast<double>(server_->connections())}};
  });
  metrics_.gauge("roamstead_sessions", "Sessions that are open; silent ones' leases have run out", [this] {
    const auto counts = sessions_->counts();
    return Values{{{{"lease", "held"}}, static_cast<double>(counts.active - counts.silent)},
                  {{{"lease", "silent"}}, static_cast<double>(counts.silent)}};
  });
  metrics_.gauge("roamstead_sessions_over_quota", "Sessions whose changes were refused for a quota", [this] {
    return Values{{{}, static_cast<double>(sessions_->counts().over_quota)}};
  });
  metrics_.gauge("roamstead_flight_bytes", "Memory for what desktops have under way", [this] {
    return Values{{{}, static_cast<double>(server_->flight_bytes())}};
  });
  metrics_.gauge("roamstead_spooled_bytes", "Bytes set aside for batches on their way", [this] {
    return Values{{{}, static_cast<double>(server_->spooled_bytes())}};
  });
}

Result<void> Coordinator::answer_monitoring(const std::string& address) {
  auto working = [pulse = pulse_]() -> Result<void> {
    const Clock::time_point last{Clock::duration(pulse->last_alive)};
    const auto silent = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - last);
    if (silent < kNotAlive) return {};
    return fail(ErrorCode::timeout, "connections and commits have not got on for " +
                                        std::to_string(silent.count()) + " s: does the storage hang?");
  };
  auto storage = [pulse = pulse_]() -> Result<void> {
    if (!pulse->storage_failed) return {};
    return fail(ErrorCode::io, "a write to the repository failed; it is being opened again");
  };
  RS_TRY(health_, http::HealthServer::start(address, metrics_, {{"working", working}},
                                            {{"working", working}, {"storage", storage}}));
  return {};
}

CommandContext Coordinator::command_context() {
  return {*repository_,
          *store_,
          *sessions_,
          *authority_,
          public_address_.empty() ? address() : public_address_,
          [this](const std::string& desktop) { server_->disconnect(desktop); },
          *extractors_,
          audit_.get(),
          pools_.get(),
          &metrics_,
          snapshots_.get()};
}

Result<nlohmann::json> Coordinator::execute(const Caller& caller, const nlohmann::json& request,
                                            const admin::ProgressSink& progress) {
  return server::execute(command_context(), caller, request, progress);
}

Result<nlohmann::json> Coordinator::execute(const nlohmann::json& request,
                                            const admin::ProgressSink& progress) {
  return execute({"coordinator", Role::administrator, "internal"}, request, progress);
}

}  // namespace roamstead::server
