// roamstead-flow: the demo where nothing can be mounted. See tests/flow/flow.h.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "common/base/log.h"
#include "tests/flow/flow.h"
#include "tests/flow/flow_rules.h"
#include "tests/support/temporary_directory.h"

int main(int count, char** values) {
  CLI::App app(
      "A profile roams between two desktops in one process: real disks, volumes, TLS and repository, no "
      "mounts");
  roamstead::flow::FlowOptions options;
  app.add_option("--files", options.files, "Files of the profile")->capture_default_str();
  app.add_option("--seed", options.seed, "What the profile and its changes follow from")
      ->capture_default_str();
  std::string format = "vhdx";
  app.add_option("--format", format, "Of the disks: vhdx, vhd or qcow2")->capture_default_str();
  app.add_option("--directory", options.directory,
                 "An empty directory to work in, kept (default: a temporary one)");
  bool rules = false;
  app.add_flag("--rules", rules, "Show rules of profiles instead: what they leave out, keep, and load when");
  CLI11_PARSE(app, count, values);
  roamstead::set_log_level(roamstead::LogLevel::warning);
  const auto parsed = roamstead::vdisk::parse_format(format);
  if (!parsed) {
    std::cerr << parsed.error().to_string() << std::endl;
    return 2;
  }
  options.format = *parsed;
  try {
    roamstead::support::TemporaryDirectory temporary;
    if (options.directory.empty()) options.directory = temporary.path();
    std::filesystem::create_directories(options.directory);
    if (rules) {
      const auto done = roamstead::flow::run_rules_flow(options.directory);
      if (!done) std::cerr << "roamstead-flow --rules: " << done.error().to_string() << std::endl;
      return done ? 0 : 1;
    }
    if (auto done = roamstead::flow::run_flow(options); !done) {
      std::cerr << "roamstead-flow --files " << options.files << " --seed " << options.seed << ": "
                << done.error().to_string() << std::endl;
      return 1;
    }
    std::cout << "no difference" << std::endl;
    return 0;
  } catch (const std::exception& error) {  // a bug of ours
    std::cerr << "roamstead-flow: internal error: " << error.what() << std::endl;
    return 70;
  }
}
