// roamstead: the administrator's command. Parses the words, runs the one verb they name, and reports errors
// as "roamstead: what went wrong" (or as JSON), exit code 1; wrong usage exits with CLI11's codes.
#include <clocale>
#include <iostream>

#include "coordinator/cli/verbs.h"

int main(int argc, char** argv) {
  using namespace roamstead;
  std::setlocale(LC_CTYPE, "C.UTF-8");
  CLI::App app{"Roams user profiles between virtual desktops", "roamstead"};
  app.set_version_flag("--version", ROAMSTEAD_VERSION);
  app.require_subcommand(1);
  cli::Context context;
  cli::add_disk_verbs(app, context);
  cli::add_volume_verbs(app, context);
  cli::add_hive_verbs(app, context);
  cli::add_delta_verb(app, context);
  cli::add_repo_verbs(app, context);
  cli::add_profile_verbs(app, context);
  cli::add_desktop_verbs(app, context);
  cli::add_compose_verbs(app, context);
  cli::add_access_verbs(app, context);
  cli::add_administrator_verbs(app, context);
  cli::add_config_verbs(app, context);
  cli::add_top_verb(app, context);
  cli::add_doctor_verb(app, context);
  cli::add_explain_verb(app, context);
  cli::add_setup_verb(app, context);
  cli::add_generate_verbs(app, context);
  CLI11_PARSE(app, argc, argv);
  if (!context.run) {
    std::cerr << app.help();
    return 2;
  }
  auto result = context.run();
  if (result) return context.exit_code;
  // A check that found something has printed that: standard output stays one JSON document.
  if (context.json && !context.printed) {
    std::cout << nlohmann::json{{"error",
                                 {{"code", to_string(result.error().code)},
                                  {"message", result.error().to_string()}}}}
                     .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
              << '\n';
  } else {
    std::cerr << "roamstead: " << result.error().to_string() << '\n';
  }
  return 1;
}
