// A golden image to try pools with where no Windows is at hand. It is made here, has hives and files laid out
// as those of Windows are, and starts no machine.
#include <CLI/CLI.hpp>
#include <iostream>

#include "coordinator/compose/testing/golden_image.h"

int main(int argc, char** argv) {
  CLI::App app{"Make an image to try 'roamstead pool' with", "roamstead-golden"};
  std::string path;
  std::uint64_t software_megabytes = 4, system_megabytes = 2;
  app.add_option("path", path, "Where to: a .vhdx, .vhd or .qcow2 that is not there")->required();
  app.add_option("--software-mb", software_megabytes, "Size of the SOFTWARE hive")->capture_default_str();
  app.add_option("--system-mb", system_megabytes, "Size of the SYSTEM hive")->capture_default_str();
  bool generalised = false;
  std::string hives;
  app.add_flag("--generalised", generalised, "As sysprep /generalize leaves one");
  app.add_option(
      "--hives", hives,
      "A directory with hives that Windows made: SYSTEM, SOFTWARE, SECURITY, SAM, NTUSER.DAT; those that "
      "are missing are made here");
  CLI11_PARSE(app, argc, argv);
  try {
    roamstead::compose::testing::GoldenOptions options;
    options.software_filler_bytes = software_megabytes << 20;
    options.system_filler_bytes = system_megabytes << 20;
    if (generalised) options.edits.push_back(roamstead::compose::testing::generalised_state());
    if (!hives.empty()) roamstead::compose::testing::read_hives(hives, options);
    options.disk_bytes = (128 + 2 * (software_megabytes + system_megabytes)) << 20;
    roamstead::compose::testing::make_golden_image(path, options);
  } catch (const std::exception& error) {
    std::cerr << "roamstead-golden: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
