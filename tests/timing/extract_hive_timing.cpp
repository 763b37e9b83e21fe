// What an extraction costs when a few values of a large hive changed: everything in it loaded by the
// session's agent, so that the live hives and the base hives of two snapshots are compared.
//
//   extract_hive_timing [--keys N] [--changed N] [--rounds N] [--logged] [--json]
//
// 60,000 keys with two values each make about 15 MB. With --logged the changes lie in the hive's log. Disks
// are made below TMPDIR or /tmp. Exit status 0 when the median is under 200 ms, 1 otherwise.
#include <chrono>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "common/extract/test_agent.h"
#include "common/extract/test_hives.h"
#include "common/registry/test_hive.h"
#include "tests/timing/timing.h"

using namespace roamstead;
using namespace roamstead::extract;

namespace {

constexpr const char* kUser = "NTUSER.DAT";
constexpr const char* kJournal = "ProgramData/Roamstead/provenance.journal";
constexpr double kWantedSeconds = 0.2;

struct Options {
  std::size_t keys = 60'000;
  std::size_t changed = 10;
  int rounds = 9;
  bool logged = false;
  bool json = false;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const auto number = [&]() -> std::size_t {
      return i + 1 < count ? std::strtoull(arguments[++i], nullptr, 10) : 0;
    };
    if (name == "--keys") {
      options.keys = std::max<std::size_t>(number(), 1);
    } else if (name == "--changed") {
      options.changed = number();
    } else if (name == "--rounds") {
      options.rounds = static_cast<int>(std::max<std::size_t>(number(), 1));
    } else if (name == "--logged") {
      options.logged = true;
    } else if (name == "--json") {
      options.json = true;
    } else {
      std::cerr << "usage: extract_hive_timing [--keys N] [--changed N] [--rounds N] [--logged] [--json]\n";
      std::exit(2);
    }
  }
  return options;
}

std::string key_name(std::size_t key) {
  return "Software\\Vendor " + std::to_string(key % 60) + "\\Product " + std::to_string(key / 60 % 40) +
         "\\Settings " + std::to_string(key);
}

TestKeys version_of(std::size_t count) {
  auto version = TestKeys::empty();
  const auto put = [&](const std::string& path) {
    version.put(path).entry = {{}, registry::test::kTime, registry::test::descriptor(1)};
  };
  put("");
  for (std::size_t i = 0; i < count; ++i) {
    const auto path = key_name(i);
    for (auto end = path.find('\\'); end != std::string::npos; end = path.find('\\', end + 1))
      if (!version.has(path.substr(0, end))) put(path.substr(0, end));
    put(path);
    version.set(path, "Location", 1, Bytes(30 + i % 40, std::byte{'x'}));
    version.set(path, "State", 4, Bytes(4, std::byte{1}));
  }
  return version;
}

}  // namespace

int main(int count, char** arguments) {
  const auto options = parse(count, arguments);
  std::mt19937_64 random(1);
  const auto version = version_of(options.keys);
  TestTree base;
  base.make_hive(kUser, version);
  TestDesktop desktop({}, 512u << 20);
  TestAgent agent(desktop, base);
  agent.populate("");
  agent.flush_tags();
  TestHive hive(desktop, kUser, version, base_hive_path(kJournal, agent.session(), profile::hive_paths()[0]));
  hive.load("", profile::KeyScope::subtree);
  hive.load_base();

  Extractor extractor(os::real_file_system());
  Guid below;
  std::vector<double> seconds, processor_seconds;
  double first = 0;
  for (int round = 0; round <= options.rounds; ++round) {
    if (round > 0)
      for (std::size_t i = 0; i < options.changed; ++i)
        hive.set(key_name(random() % options.keys), "State", Bytes(4, static_cast<std::byte>(random())), 4);
    hive.save(round > 0 && options.logged);
    const auto frozen = desktop.freeze();
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    const auto start = std::chrono::steady_clock::now();
    const auto processor_start = std::clock();
    auto extraction = extractor.extract(request);
    const auto processor = static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC;
    const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!extraction) {
      std::cerr << extraction.error().to_string() << '\n';
      return 2;
    }
    const auto& batch = (*extraction)->batch();
    const auto most = round == 0 ? 0 : options.changed;
    if (batch.records.size() > most || !batch.held_back.empty()) {
      std::cerr << "not the changes that were made:\n" << describe(batch);
      return 2;
    }
    (round == 0 ? first : seconds.emplace_back()) = took;
    if (round > 0) processor_seconds.push_back(processor);
    below = frozen.frozen_id;
    extraction->reset();
    desktop.merge(below);
  }
  const auto median = timing::median(seconds);
  const auto hive_bytes = hive.live().file().size();
  if (options.json) {
    std::cout << nlohmann::json{{"hive_bytes", hive_bytes},
                                {"changed", options.changed},
                                {"first_seconds", first},
                                {"next_seconds", median},
                                {"next_processor_seconds", timing::median(processor_seconds)}}
              << '\n';
  } else {
    std::cout << "hive of " << hive_bytes / 1'000'000.0 << " MB, " << options.changed
              << " values changed: first " << first * 1000 << " ms, next " << median * 1000
              << " ms, its processor time " << timing::median(processor_seconds) * 1000 << " ms (medians of "
              << seconds.size() << ")\n";
  }
  return median < kWantedSeconds ? 0 : 1;
}
