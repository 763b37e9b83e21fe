#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "coordinator/metrics/metrics.h"
#include "tests/support/command.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using namespace std::chrono_literals;

namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("Metrics: a registry's text has every number under its name and labels") {
  metrics::Registry registry;
  registry.counter("roamstead_commits", "Batches committed", {{"outcome", "head"}}).add(3);
  registry.counter("roamstead_commits", "Batches committed", {{"outcome", "fork"}}).add();
  // The same metric, asked for again.
  registry.counter("roamstead_commits", "Batches committed", {{"outcome", "head"}}).add(2);
  registry.gauge("roamstead_sessions", "Sessions", [] {
    return metrics::Registry::Values{{{{"state", "a \"quoted\"\\ one\nand another"}}, 2.5}, {{}, 7}};
  });
  auto& took = registry.histogram("roamstead_open_seconds", "Time");
  for (auto each : {0us, 500us, 501us, 60'000'000us, 60'000'001us}) took.observe(each);
  took.observe(-5s);  // a clock that went back is no time at all
  CHECK(took.count() == 6);

  const auto text = registry.exposition();
  for (const char* line :
       {"# TYPE roamstead_commits counter", "# HELP roamstead_commits Batches committed",
        "roamstead_commits_total{outcome=\"head\"} 5", "roamstead_commits_total{outcome=\"fork\"} 1",
        "# TYPE roamstead_sessions gauge",
        "roamstead_sessions{state=\"a \\\"quoted\\\"\\\\ one\\nand another\"} 2.5", "roamstead_sessions 7",
        "# UNIT roamstead_open_seconds seconds", "roamstead_open_seconds_bucket{le=\"0.0005\"} 3",
        "roamstead_open_seconds_bucket{le=\"0.001\"} 4", "roamstead_open_seconds_bucket{le=\"60\"} 5",
        "roamstead_open_seconds_bucket{le=\"+Inf\"} 6", "roamstead_open_seconds_count 6"})
    CHECK_MESSAGE(has_line(text, line), line, "\n", text);
  CHECK(text.substr(text.size() - 6) == "# EOF\n");
}

TEST_CASE("Metrics: an independent parser of OpenMetrics reads the text") {
  metrics::Registry registry;
  registry.counter("roamstead_bytes", "Bytes \\ \"moved\"\nin all", {{"direction", "in"}}).add(1u << 30);
  registry.histogram("roamstead_wait_seconds", "Waiting", {{"phase", "open"}}).observe(3ms);
  registry.histogram("roamstead_wait_seconds", "Waiting", {{"phase", "commit"}}).observe(90s);
  registry.gauge("roamstead_connections", "Connections", [] {
    return metrics::Registry::Values{{{{"pool", "\"é\" \\ \n"}}, 12345678}};
  });
  support::TemporaryDirectory folder;
  std::ofstream(folder / "metrics") << registry.exposition();
  std::ofstream(folder / "read.py") << R"(
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1], newline="").read()):
    for s in family.samples:
        if s.name.endswith("_bucket") and s.labels["le"] not in ("0.005", "+Inf"): continue
        print(family.type, s.name, sorted(s.labels.items()), float(s.value))
)";
  // Debian's own Python: the package is for that one.
  REQUIRE(support::run("cd " + folder.path() + " && /usr/bin/python3 read.py metrics > read"));
  std::ifstream file(folder / "read");
  const std::string read(std::istreambuf_iterator<char>(file), {});
  CHECK(read ==
        "counter roamstead_bytes_total [('direction', 'in')] 1073741824.0\n"
        "histogram roamstead_wait_seconds_bucket [('le', '0.005'), ('phase', 'open')] 1.0\n"
        "histogram roamstead_wait_seconds_bucket [('le', '+Inf'), ('phase', 'open')] 1.0\n"
        "histogram roamstead_wait_seconds_count [('phase', 'open')] 1.0\n"
        "histogram roamstead_wait_seconds_sum [('phase', 'open')] 0.003\n"
        "histogram roamstead_wait_seconds_bucket [('le', '0.005'), ('phase', 'commit')] 0.0\n"
        "histogram roamstead_wait_seconds_bucket [('le', '+Inf'), ('phase', 'commit')] 1.0\n"
        "histogram roamstead_wait_seconds_count [('phase', 'commit')] 1.0\n"
        "histogram roamstead_wait_seconds_sum [('phase', 'commit')] 90.0\n"
        "gauge roamstead_connections [('pool', '\"é\" \\\\ \\n')] 12345678.0\n");
}

TEST_CASE("Metrics: updates of many threads are all counted") {
  metrics::Registry registry;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 10'000; ++j) {
        registry.counter("roamstead_updates", "Updates").add();
        registry.histogram("roamstead_took_seconds", "Took").observe(1ms);
        if (j % 1000 == 0) (void)registry.exposition();
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(registry.counter("roamstead_updates", "").value() == 40'000);
  CHECK(registry.histogram("roamstead_took_seconds", "").count() == 40'000);
}
