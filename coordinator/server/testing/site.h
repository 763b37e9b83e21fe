// A repository on disk with what a coordinator needs, and roamstead-coordinator as a process of its own.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/wire/tls_link.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/coordinator.h"
#include "tests/support/coordinator_process.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::server {

// A repository with profile "alice" assigned to the enrolled desktops desk-a and desk-b.
struct Site {
  support::TemporaryDirectory folder;
  std::map<std::string, wire::TlsLinkOptions> identities;
  std::chrono::milliseconds vanished_recovery{0};  // for the next start

  Site() {
    auto& files = os::real_file_system();
    std::filesystem::create_directories(folder / "source/Documents");
    std::ofstream(folder / "source/a.txt") << "first";
    std::ofstream(folder / "source/Documents/b.txt") << std::string(200'000, 'b');
    REQUIRE(repository::Repository::init(files, {folder / "repo", folder / "state", false}));
    auto coordinator = start();
    REQUIRE(coordinator->execute(
        {{"command", "profile.import"}, {"profile", "alice"}, {"source", folder / "source"}}, {}));
    for (const char* name : {"desk-a", "desk-b"}) {
      auto issued = coordinator->execute({{"command", "desktop.enroll"}, {"desktop", name}}, {}).value();
      auto& identity = identities[name];
      identity.key_pem = issued["key_pem"];
      identity.certificate_pem = issued["certificate_pem"];
      identity.ca_pem = issued["ca_pem"];
      REQUIRE(
          coordinator->execute({{"command", "assignment.add"}, {"desktop", name}, {"profile", "alice"}}, {}));
    }
  }
  std::unique_ptr<Coordinator> start(std::chrono::seconds lease = std::chrono::seconds(30),
                                     Faults faults = {}, SessionPolicy policy = SessionPolicy::takeover) {
    CoordinatorOptions options{folder / "repo", folder / "state", {}, {}};
    options.server.listen = "127.0.0.1:0";
    options.sessions.lease = lease;
    options.vanished_recovery = vanished_recovery;
    auto coordinator = Coordinator::start(options, std::move(faults));
    if (!coordinator) throw std::runtime_error(coordinator.error().to_string());
    REQUIRE((*coordinator)
                ->execute({{"command", "desktop-pool.set"},
                           {"pool", kDefaultPool},
                           {"session_policy", to_string(policy)}},
                          {}));
    return std::move(*coordinator);
  }
  std::unique_ptr<wire::TlsLink> link(const std::string& desktop, const std::string& address) {
    auto options = identities.at(desktop);
    options.address = address;
    return wire::TlsLink::create(options).value();
  }
  std::vector<repository::VersionInfo> versions() {
    auto repository =
        repository::Repository::open(os::real_file_system(), {folder / "repo", folder / "state", true})
            .value();
    return repository->versions(repository->find_profile("alice")->id).value();
  }
};

// Listens once it is made, unless it was told not to wait.
class Process : public support::CoordinatorProcess {
 public:
  explicit Process(const support::CoordinatorProcessOptions& options)
      : CoordinatorProcess(ROAMSTEAD_COORDINATOR, options) {
    if (options.wait_until_ready) REQUIRE(is_ready());
  }
  Process(const Site& site, const std::string& listen, const std::string& fault)
      : Process({{"--repo", site.folder / "repo", "--state", site.folder / "state", "--listen", listen},
                 {{"ROAMSTEAD_FAULT", fault}}}) {}
};

}  // namespace roamstead::server
