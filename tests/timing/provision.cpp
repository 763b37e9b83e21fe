// Making a pool of linked clones from a golden image: how long, how much disk, how much memory. The
// coordinator is the real one in this process, with every flush; the golden image is made by
// roamstead-golden's code.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/base/log.h"
#include "coordinator/compose/testing/golden_image.h"
#include "coordinator/join/secret.h"
#include "coordinator/join/testing_blob.h"
#include "coordinator/server/coordinator.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace roamstead;
using support::must;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Sizes {
  double stored_kib = 0;
  double apparent_mib = 0;
};

// Per clone, of all its layers.
Sizes sizes_of(const std::string& directory, const std::string& prefix, double clones) {
  Sizes sizes;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().filename().string().rfind(prefix, 0) != 0) continue;
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) != 0) continue;
    sizes.stored_kib += static_cast<double>(status.st_blocks) / 2 / clones;
    sizes.apparent_mib += static_cast<double>(status.st_size) / (1 << 20) / clones;
  }
  return sizes;
}

// Accounts that exist already, as "net offlinejoin provision" leaves them: NAME.txt for each clone.
std::string write_blobs(const std::string& folder, int clones, const std::string& prefix) {
  const auto directory = folder + "/blobs-" + prefix;
  std::filesystem::create_directory(directory);
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
  for (int number = 1; number <= clones; ++number) {
    auto blob = join::testing::sample_blob();
    blob.membership.machine_name = fmt::format("{}-{:05}", prefix, number);
    blob.membership.machine_password = join::random_machine_password();
    const auto file = must(join::write_odj_file(blob));
    std::ofstream(directory + "/" + blob.membership.machine_name + ".txt", std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  }
  return directory;
}

void run(server::Coordinator& coordinator, const std::string& folder, int clones, const std::string& prefix,
         bool as_json) {
  const auto directory = folder + "/disks-" + prefix;
  const auto blobs = write_blobs(folder, clones, prefix);
  const auto specification = fmt::format(
      "[pool]\nname = \"{0}\"\nimage = \"golden\"\nclones = \"{0}-{{n:05}}\"\ncount = {1}\ndirectory = "
      "\"{2}\"\n"
      "[network]\naddresses = \"10.1.0.10-10.1.255.250/16\"\ngateway = \"10.1.0.1\"\n"
      "[join]\nmethod = \"direct\"\nblobs = \"{3}\"\n"
      "[[scripts]]\nsource = \"first.cmd\"\n",
      prefix, clones, directory, blobs);
  const auto begin = Clock::now();
  const auto processor = processor_seconds();
  std::optional<double> first;
  const auto result = must(coordinator.execute(
      {{"command", "pool.create"}, {"specification", specification}, {"directory", folder}},
      [&](const admin::Progress& progress) {
        if (!first && progress.done > 0) first = seconds_since(begin);
      }));
  const auto took = seconds_since(begin);
  const auto sizes = sizes_of(directory, prefix + "-", clones);
  if (result["made"] != clones) throw std::runtime_error("not all were made: " + result.dump());
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  if (as_json)
    std::cout << nlohmann::json{{"clones", clones},
                                {"seconds", took},
                                {"first_seconds", *first},
                                {"processor_seconds", processor_seconds() - processor},
                                {"stored_kib_per_clone", sizes.stored_kib},
                                {"apparent_mib_per_clone", sizes.apparent_mib},
                                {"peak_mib", usage.ru_maxrss / 1024}}
                     .dump()
              << '\n';
  else
    fmt::print(
        "{:5} clones: {:6.2f} s (template and first clone {:.2f} s), {:.2f} ms each, {:.2f} s of processor; "
        "{:.0f} KiB "
        "stored each ({:.1f} MiB apparent); peak {} MiB\n",
        clones, took, *first, 1000 * (took - *first) / std::max(1, clones - 1),
        processor_seconds() - processor, sizes.stored_kib, sizes.apparent_mib, usage.ru_maxrss / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Time the making of a pool", "provision_timing"};
  int clones = 1000;
  std::uint64_t system_megabytes = 15, software_megabytes = 60;
  bool as_json = false;
  app.add_option("--clones", clones)->capture_default_str();
  app.add_option("--system-mb", system_megabytes)->capture_default_str();
  app.add_option("--software-mb", software_megabytes)->capture_default_str();
  app.add_flag("--json", as_json);
  CLI11_PARSE(app, argc, argv);
  set_log_level(LogLevel::error);
  try {
    support::TemporaryDirectory folder;
    compose::testing::GoldenOptions golden;
    golden.software_filler_bytes = software_megabytes << 20;
    golden.system_filler_bytes = system_megabytes << 20;
    golden.disk_bytes = (256 + 2 * (software_megabytes + system_megabytes)) << 20;
    compose::testing::make_golden_image(folder / "golden.vhdx", golden);
    std::ofstream(folder / "first.cmd") << "@echo off\r\n";
    must(repository::Repository::init(os::real_file_system(), {folder / "repo", folder / "state", false}));
    server::CoordinatorOptions options{folder / "repo", folder / "state", {}, {}};
    options.server.listen = "127.0.0.1:0";
    const auto coordinator = must(server::Coordinator::start(options, {}));
    must(coordinator->execute(
        {{"command", "image.import"}, {"image", "golden"}, {"disk", folder / "golden.vhdx"}}, {}));
    run(*coordinator, folder.path(), 10, "TEN", as_json);
    run(*coordinator, folder.path(), clones, "ALL", as_json);
  } catch (const std::exception& error) {
    std::cerr << "provision_timing: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
