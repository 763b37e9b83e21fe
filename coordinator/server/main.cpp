// roamstead-coordinator: serves desktops until it is told to end. Where its settings come from is said in
// coordinator/config/loader.h, what signals do in service.h. Logs to standard error, as systemd's journal
// takes it; a line "ready 127.0.0.1:7420" on standard output says that it listens.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <optional>

#include "common/base/log.h"
#include "coordinator/config/loader.h"
#include "coordinator/manual/completion.h"
#include "coordinator/manual/man_page.h"
#include "coordinator/server/service.h"
#include "coordinator/server/service_manager.h"

namespace {

using namespace roamstead;

struct Arguments {
  std::string config_file;
  std::string repository;
  std::string state;
  std::string listen;
  std::vector<std::string> names;
  std::optional<long> lease_seconds;
  std::vector<std::string> settings;
  bool check_only = false;
  std::string generate;
  bool foreground = true;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--config", arguments.config_file,
                 std::string("The configuration file; conf.d beside it is read too (default: ") +
                     config::kDefaultFile + ", where --repo does not say that there is none)");
  app.add_flag("--check-config", arguments.check_only, "Say what is wrong with the configuration, and end");
  app.add_option("--set", arguments.settings, "SECTION.KEY=VALUE: comes before what files say");
  app.add_option("--repo", arguments.repository, "The repository's directory")->envname("ROAMSTEAD_REPO");
  app.add_option("--state", arguments.state,
                 "The local state directory (default: state in the repository's)");
  app.add_option("--listen", arguments.listen, "Address and port to listen on; port 0: any");
  app.add_option("--name", arguments.names, "Further DNS names or addresses for the certificate");
  app.add_option("--lease", arguments.lease_seconds,
                 "Seconds after which a silent desktop's profile may be opened elsewhere");
  app.add_option("--generate", arguments.generate, "man, bash, zsh or fish: a text for packages")->group("");
  app.add_flag("--foreground", arguments.foreground, "Stay in the foreground (it always does)");
}

Result<config::Sources> sources_of(const Arguments& arguments) {
  config::Sources sources;
  sources.file = arguments.config_file;
  if (sources.file.empty() && arguments.repository.empty()) sources.file = config::kDefaultFile;
  auto& settings = sources.settings;
  for (const auto& setting : arguments.settings) {
    auto equals = setting.find('=');
    if (equals == std::string::npos)
      return fail(ErrorCode::invalid_argument, "--set " + setting + ": expected SECTION.KEY=VALUE");
    settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  // Who names a repository means it, and not the state of the one that a file names.
  if (!arguments.repository.empty()) {
    settings.emplace_back("repository.directory", arguments.repository);
    settings.emplace_back("repository.state", arguments.state);
  } else if (!arguments.state.empty()) {
    settings.emplace_back("repository.state", arguments.state);
  }
  if (!arguments.listen.empty()) settings.emplace_back("listen.address", arguments.listen);
  std::string names;
  for (const auto& name : arguments.names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) settings.emplace_back("listen.names", names);
  if (arguments.lease_seconds)
    settings.emplace_back("sessions.lease", std::to_string(*arguments.lease_seconds) + "s");
  return sources;
}

Result<void> run(const Arguments& arguments) {
  RS_TRY(auto sources, sources_of(arguments));
  auto load = [sources] { return config::load(os::real_file_system(), sources); };
  RS_TRY(auto loaded, load());
  RS_CHECK(config::check_complete(loaded.config));
  if (arguments.check_only) {
    for (const auto& file : loaded.files) std::cout << file << '\n';
    std::cout << "the configuration is good\n";
    return {};
  }
  RS_TRY(auto faults, Faults::from_environment());
  return server::run_service({std::move(loaded), load, std::move(faults)});
}

Result<void> generate(const CLI::App& app, const std::string& what) {
  auto tree = manual::command_tree(app);
  if (what == "man") {
    manual::PageFacts facts{
        ROAMSTEAD_VERSION,
        8,
        {{"SIGNALS",
          "SIGTERM: accepts nothing new, finishes what is being committed within "
          "service.drain_timeout, and ends.\n\nSIGHUP: reads the configuration again; sessions "
          "go on. The log says what takes effect only at the next start."},
         {"FILES", std::string(config::kDefaultFile) + "\n\n/etc/roamstead/conf.d/*.toml"}},
        {"coordinator.toml(5)", "roamstead(1)", "roamstead-setup(1)"}};
    std::cout << manual::program_page(tree, facts).content;
  } else if (what == "bash") {
    std::cout << manual::bash_completion(tree);
  } else if (what == "zsh") {
    std::cout << manual::zsh_completion(tree);
  } else if (what == "fish") {
    std::cout << manual::fish_completion(tree);
  } else {
    return fail(ErrorCode::invalid_argument, "--generate " + what + ": expected man, bash, zsh or fish");
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Keeps users' profiles and serves them to desktops", "roamstead-coordinator"};
  app.set_version_flag("--version", ROAMSTEAD_VERSION);
  Arguments arguments;
  add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  if (server::service_manager::logs_to_journal()) set_log_sink(server::service_manager::log);
  auto result = arguments.generate.empty() ? run(arguments) : generate(app, arguments.generate);
  if (result) return 0;
  std::cerr << "roamstead-coordinator: " << result.error().to_string() << '\n';
  return 1;
}
