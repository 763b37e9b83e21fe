// Measures the coordinator over loopback on a real repository: round trips, reading, committing. Not a test:
// prints a table.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "common/base/log.h"
#include "common/wire/tls_link.h"
#include "coordinator/server/coordinator.h"
#include "coordinator/server/testing/sample_batch.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace roamstead;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

using support::must;

struct Desk {
  std::unique_ptr<wire::TlsLink> link;
  wire::OpenReply session;
};

Desk log_in(server::Coordinator& coordinator, const std::string& source, int number) {
  auto name = "desk-" + std::to_string(number), profile = "user-" + std::to_string(number);
  must(coordinator.execute({{"command", "profile.import"}, {"profile", profile}, {"source", source}}, {}));
  auto issued = must(coordinator.execute({{"command", "desktop.enroll"}, {"desktop", name}}, {}));
  must(coordinator.execute({{"command", "assignment.add"}, {"desktop", name}, {"profile", profile}}, {}));
  wire::TlsLinkOptions options;
  options.address = coordinator.address();
  options.key_pem = issued["key_pem"];
  options.certificate_pem = issued["certificate_pem"];
  options.ca_pem = issued["ca_pem"];
  Desk desk{must(wire::TlsLink::create(options)), {}};
  desk.session = must(desk.link->open({profile, "", {}}));
  return desk;
}

void commit_some(Desk& desk, int count) {
  for (int i = 1; i <= count; ++i) {
    server::SampleBatch batch(desk.session.incarnation, static_cast<std::uint64_t>(i),
                              {{"note.txt", "change " + std::to_string(i)},
                               {"log.txt", std::string(4096, static_cast<char>('a' + i % 26))}});
    must(desk.link->commit(desk.session.session_secret, batch.batch, batch));
  }
}

void run() {
  constexpr std::size_t kBig = 256u << 20;
  constexpr int kCalls = 2000, kCommits = 200, kDesks = 8;
  support::TemporaryDirectory folder;
  std::filesystem::create_directories(folder / "source");
  std::filesystem::create_directories(folder / "small");
  std::ofstream(folder / "small/note.txt") << "note";
  std::minstd_rand random(1);
  std::string noise(kBig, 0);
  for (auto& c : noise) c = static_cast<char>(random() >> 8);
  std::ofstream(folder / "source/big.bin", std::ios::binary) << noise;
  for (int i = 0; i < 100; ++i) std::ofstream(folder / ("source/file" + std::to_string(i))) << i;

  if (!repository::Repository::init(os::real_file_system(), {folder / "repo", folder / "state", false}))
    throw std::runtime_error("init");
  server::CoordinatorOptions options{folder / "repo", folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  auto coordinator = must(server::Coordinator::start(options, {}));
  auto desk = log_in(*coordinator, folder / "source", 0);

  auto start = Clock::now();
  for (int i = 0; i < kCalls; ++i)
    if (!desk.link->renew(desk.session.session_secret)) throw std::runtime_error("renew");
  fmt::print("round trip of renew                 {:8.0f} us\n", seconds_since(start) / kCalls * 1e6);
  start = Clock::now();
  for (int i = 0; i < kCalls; ++i) must(desk.link->list(desk.session.session_secret, {}, ""));
  fmt::print("round trip of list (101 names)      {:8.0f} us\n", seconds_since(start) / kCalls * 1e6);
  for (int threads : {1, 4}) {
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> readers;
    start = Clock::now();
    for (int t = 0; t < threads; ++t)
      readers.emplace_back([&] {
        for (auto at = next.fetch_add(wire::kMaxReadBytes); at < kBig;
             at = next.fetch_add(wire::kMaxReadBytes))
          if (must(desk.link->read(desk.session.session_secret, server::path_of("big.bin"), "", at,
                                   wire::kMaxReadBytes))
                  .size() != wire::kMaxReadBytes)
            throw std::runtime_error("short read");
      });
    for (auto& reader : readers) reader.join();
    fmt::print("reading 256 MiB with {} thread(s)     {:8.0f} MB/s\n", threads,
               kBig / seconds_since(start) / 1e6);
  }
  for (auto& c : noise)
    c = static_cast<char>(random() >> 8);  // other content, or it would only be recognised
  server::SampleBatch large(desk.session.incarnation, 1, {{"other.bin", noise}});
  start = Clock::now();
  must(desk.link->commit(desk.session.session_secret, large.batch, large));
  fmt::print("committing 256 MiB of new content   {:8.0f} MB/s\n", kBig / seconds_since(start) / 1e6);

  std::vector<Desk> desks;
  for (int i = 1; i <= kDesks + 1; ++i) desks.push_back(log_in(*coordinator, folder / "small", i));
  start = Clock::now();
  commit_some(desks[0], kCommits);
  fmt::print("commits a second, 1 session         {:8.0f}\n", kCommits / seconds_since(start));
  start = Clock::now();
  std::vector<std::thread> committers;
  for (int i = 1; i <= kDesks; ++i)
    committers.emplace_back([&, i] { commit_some(desks[static_cast<std::size_t>(i)], kCommits); });
  for (auto& committer : committers) committer.join();
  fmt::print("commits a second, 8 sessions        {:8.0f}\n", kCommits * kDesks / seconds_since(start));
}

}  // namespace

int main() {
  set_log_level(LogLevel::warning);
  try {
    run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "coordinator_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
