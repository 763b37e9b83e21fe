// How verbs reach a repository: reading beside whoever writes, commands in process or through the
// coordinator.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>

#include "coordinator/cli/verbs.h"
#include "coordinator/repository/repository.h"

namespace roamstead::cli {

// Which repository a verb is about: --repo DIR (or ROAMSTEAD_REPO), --state DIR (by default DIR/state);
// without them the one of this host's coordinator, as it is configured.
struct RepositoryChoice {
  std::string directory;
  std::string state_directory;

  void add_to(CLI::App& verb);                  // both as options
  void add_to_with_positional(CLI::App& verb);  // the directory as an argument of its own
  Result<repository::Options> options(bool read_only) const;
  // Of the coordinator that has the repository, if one has.
  Result<std::string> admin_socket() const;

 private:
  Result<repository::Options> configured(bool read_only) const;
};

// Reads; works while a coordinator has the repository open.
Result<std::unique_ptr<repository::Repository>> open_for_reading(const RepositoryChoice& choice);

// Executes an administrator's command (coordinator/admin/commands.h and coordinator/server/commands.h): in
// this process when nobody has the repository open for writing, otherwise in the coordinator that has.
Result<nlohmann::json> run_command(const RepositoryChoice& choice, const nlohmann::json& request,
                                   const Context& context);
// The same of a coordinator that runs; ErrorCode::unavailable when none does. Never opens the repository.
Result<nlohmann::json> ask_running_coordinator(const RepositoryChoice& choice, const nlohmann::json& request,
                                               const Context& context);

// The same of a coordinator that runs, and only there; ErrorCode::unavailable when it does not answer within
// the time.
struct RunningAnswer {
  nlohmann::json result;
  int pid = 0;  // the coordinator's; 0: unknown
  std::chrono::milliseconds took{0};
};
Result<RunningAnswer> ask_running(const std::string& socket_path, const nlohmann::json& request,
                                  std::chrono::milliseconds limit);

// Of this host's coordinator; ROAMSTEAD_CONFIG names another one.
std::string configuration_file();

}  // namespace roamstead::cli
