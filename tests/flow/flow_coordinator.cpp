#include "tests/flow/flow_coordinator.h"

#include "common/base/file_time.h"

namespace roamstead::flow {

Result<std::unique_ptr<FlowCoordinator>> FlowCoordinator::start(const std::string& directory) {
  auto& files = os::real_file_system();
  const auto state = directory + "/state";
  RS_CHECK(files.make_directories(state));
  RS_TRY(auto authority, identity::CertificateAuthority::open_or_create(files, state + "/ca"));
  std::unique_ptr<FlowCoordinator> coordinator(new FlowCoordinator(std::move(authority)));
  repository::Options options;
  options.directory = directory + "/repository";
  options.state_directory = state;
  RS_CHECK(repository::Repository::init(files, options));
  RS_TRY(coordinator->repository_, repository::Repository::open(files, options));
  RS_TRY(coordinator->store_, server::StateStore::open(state));
  coordinator->rules_ = std::make_unique<server::ProfileRules>(*coordinator->store_);
  server::SessionOptions sessions;
  sessions.rules_of = [rules = coordinator->rules_.get()](const std::string& desktop,
                                                          const repository::ProfileId& profile) {
    return rules->canonical(desktop, profile);
  };
  RS_TRY(coordinator->sessions_,
         server::SessionTable::create(*coordinator->store_, *coordinator->repository_, sessions, {}));
  server::ServerOptions server;
  server.listen = "127.0.0.1:0";
  server.state_directory = state;
  RS_TRY(coordinator->server_, server::Server::start(server, coordinator->authority_, *coordinator->store_,
                                                     *coordinator->sessions_));
  return coordinator;
}

Result<void> FlowCoordinator::set_rules(const std::string& profile, const std::string& of_pool,
                                        const std::string& own) {
  RS_TRY(const auto info, repository_->find_profile(profile));
  RS_CHECK(store_->set_pool_rules(server::kDefaultPool, of_pool));
  return store_->set_profile_rules(info.id, own);
}

Result<repository::VersionInfo> FlowCoordinator::import(const std::string& profile,
                                                        const ProfileModel& model) {
  RS_TRY(const auto info, repository_->create_profile(profile));
  ModelBatch batch(model);
  repository::CommitOrigin origin;
  origin.kind = repository::VersionKind::import;
  return repository_->commit(info.id, info.head, batch.batch(), batch, origin);
}

Result<wire::TlsLinkOptions> FlowCoordinator::enroll(const std::string& desktop, const std::string& profile) {
  RS_TRY(const auto issued, authority_.issue_desktop(desktop));
  RS_CHECK(store_->add_desktop({desktop, issued.serial, now_100ns(), 0}));
  RS_TRY(const auto info, repository_->find_profile(profile));
  RS_CHECK(store_->assign({desktop, info.id, profile}));
  wire::TlsLinkOptions options;
  options.address = server_->address();
  options.certificate_pem = issued.certificate_pem;
  options.key_pem = issued.key_pem;
  options.ca_pem = authority_.certificate_pem();
  options.software = "roamstead-flow";
  return options;
}

Result<repository::CheckReport> FlowCoordinator::finish() {
  server_->stop();
  return repository_->check([](std::uint64_t, std::uint64_t) {});
}

}  // namespace roamstead::flow
