// A whole coordinator in this process: a repository on disk, an authority, the server on a loopback port.
#pragma once

#include <memory>
#include <string>

#include "common/wire/tls_link.h"
#include "coordinator/repository/repository.h"
#include "coordinator/server/profile_rules.h"
#include "coordinator/server/server.h"
#include "tests/flow/profile_model.h"

namespace roamstead::flow {

class FlowCoordinator {
 public:
  // Everything lies below `directory`, which exists.
  static Result<std::unique_ptr<FlowCoordinator>> start(const std::string& directory);

  // As version 1 of a new profile of that name.
  Result<repository::VersionInfo> import(const std::string& profile, const ProfileModel& model);
  // A new desktop with a certificate of its own, to which the profile is assigned.
  Result<wire::TlsLinkOptions> enroll(const std::string& desktop, const std::string& profile);

  // Of the default pool, and of the profile itself: TOML. For sessions that are opened from now on.
  Result<void> set_rules(const std::string& profile, const std::string& of_pool, const std::string& own);

  repository::Repository& repository() { return *repository_; }
  // Stops the server and goes through everything in the repository.
  Result<repository::CheckReport> finish();

 private:
  FlowCoordinator(identity::CertificateAuthority authority) : authority_(std::move(authority)) {}

  identity::CertificateAuthority authority_;
  std::unique_ptr<repository::Repository> repository_;
  std::unique_ptr<server::StateStore> store_;
  std::unique_ptr<server::ProfileRules> rules_;
  std::unique_ptr<server::SessionTable> sessions_;
  std::unique_ptr<server::Server> server_;  // goes first
};

}  // namespace roamstead::flow
