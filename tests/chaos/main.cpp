// Many desktops, one coordinator that is killed again and again, and a model of every profile: at the end
// each version must be what a desktop had, and nothing acknowledged may be missing. Its storage fills up,
// fails, writes a part, hangs; its clock is set ahead and back by hours.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <thread>

#include "common/base/log.h"
#include "coordinator/server/coordinator.h"
#include "tests/chaos/desktop.h"
#include "tests/support/coordinator_process.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/must.h"
#include "tests/support/own_address.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace roamstead;
using namespace roamstead::chaos;
using Clock = std::chrono::steady_clock;

struct Options {
  int desktops = 50;
  int profiles = 25;
  int seconds = 120;
  std::uint64_t seed = 0;
  bool sound = false;  // storage and clock
};

using support::must;

class Run {
 public:
  explicit Run(const Options& options) : options_(options), random_(options.seed) {
    std::filesystem::create_directories(host_);
  }

  void go() {
    prepare();
    start(support::own_address() + ":0", "");
    if (!coordinator_->is_ready()) throw std::runtime_error("the coordinator does not start");
    address_ = coordinator_->address();
    const auto until = Clock::now() + std::chrono::seconds(options_.seconds);
    std::vector<std::thread> threads;
    for (int i = 0; i < options_.desktops; ++i)
      threads.emplace_back([this, i, until] { run_desktop(i, until); });
    trouble(until);
    for (auto& thread : threads) thread.join();
    if (!broken_.empty()) throw Broken(broken_);
    if (coordinator_->terminate() != 0) throw Broken("the coordinator did not end well");
    auto repository = must(
        repository::Repository::open(os::real_file_system(), {host_ + "/repo", host_ + "/state", false}, {}));
    check_everything(*repository, profiles_, states_);
    fmt::print(
        "{} sessions, {} batches ({} as forks), {} hand-overs, {} pushes ignored, {} resumed, {} vanished, "
        "{} from "
        "the past, {} refused, {} files compared on the way; the coordinator was killed {} times and ended "
        "by itself "
        "{} times; storage: {} faults, hung {} times; {} clock jumps\n",
        counts_.sessions.load(), counts_.batches.load(), counts_.forks.load(), counts_.hand_overs.load(),
        counts_.ignored_pushes.load(), counts_.resumes.load(), counts_.vanished.load(),
        counts_.reverted.load(), counts_.refused.load(), counts_.verified.load(), kills_, own_ends_,
        storage_.plan().faults.load(), hangs_, jumps_);
    // A run in which nothing happened proves nothing.
    if (counts_.batches == 0 || counts_.hand_overs == 0 || counts_.forks == 0 || kills_ == 0)
      throw Broken("too little happened");
    if (!options_.sound && (storage_.plan().faults == 0 || hangs_ == 0 || jumps_ == 0))
      throw Broken("storage and clock had no trouble");
  }

 private:
  void prepare() {
    auto& files = os::real_file_system();
    must(repository::Repository::init(files, {host_ + "/repo", host_ + "/state", false}));
    Content first{{kStamp, "start"}};
    for (int i = 0; i < 3; ++i)
      std::filesystem::create_directories(folder_ / ("source/d" + std::to_string(i)));
    for (int i = 0; i < 8; ++i)
      first[fmt::format("d{}/f{}", i % 3, i)] = fmt::format("first content of {}", i);
    for (const auto& [path, content] : first)
      std::ofstream(folder_ / ("source/" + path), std::ios::binary) << content;
    server::CoordinatorOptions coordinator_options{host_ + "/repo", host_ + "/state", {}, {}};
    coordinator_options.server.listen = "127.0.0.1:0";
    auto coordinator = must(server::Coordinator::start(coordinator_options, {}));
    auto execute = [&](const nlohmann::json& request) { return must(coordinator->execute(request, {})); };
    for (int i = 0; i < options_.profiles; ++i) {
      profiles_.push_back("user-" + std::to_string(i));
      execute({{"command", "profile.import"}, {"profile", profiles_.back()}, {"source", folder_ / "source"}});
      states_.add(profiles_.back(), first);
    }
    execute({{"command", "desktop-pool.create"}, {"pool", "refusing"}, {"session_policy", "refuse"}});
    execute({{"command", "desktop-pool.create"}, {"pool", "reading"}, {"session_policy", "read-only"}});
    for (int i = 0; i < options_.desktops; ++i) {
      const auto name = "desk-" + std::to_string(i);
      const char* pool = i % 5 == 3 ? "refusing" : i % 5 == 4 ? "reading" : "default";
      auto issued = execute({{"command", "desktop.enroll"}, {"desktop", name}, {"pool", pool}});
      wire::TlsLinkOptions identity;
      identity.key_pem = issued["key_pem"];
      identity.certificate_pem = issued["certificate_pem"];
      identity.ca_pem = issued["ca_pem"];
      identity.last_backoff = std::chrono::milliseconds(500);
      identities_.push_back(std::move(identity));
      assigned_.emplace_back();
      for (int j = 0; j < 3; ++j) {
        const auto& profile = profiles_[random_() % profiles_.size()];
        assigned_.back().push_back(profile);
        execute({{"command", "assignment.add"}, {"desktop", name}, {"profile", profile}});
      }
    }
  }

  void start(const std::string& listen, const std::string& fault) {
    support::CoordinatorProcessOptions options;
    options.arguments = {
        "--repo", host_ + "/repo", "--state",           host_ + "/state", "--listen",
        listen,   "--set",         "sessions.lease=5s", "--set",          "sessions.hand_over_wait=1s"};
    if (!options_.sound) options.environment = storage_.environment(ROAMSTEAD_FAULTY_STORAGE);
    options.environment["ROAMSTEAD_FAULT"] = fault;
    options.log = folder_ / "log";
    coordinator_.emplace(ROAMSTEAD_COORDINATOR, options);
  }

  void run_desktop(int number, Clock::time_point until) {
    const auto index = static_cast<std::size_t>(number);
    auto identity = identities_[index];
    identity.address = address_;
    try {
      Desktop("desk-" + std::to_string(number), identity, assigned_[index], options_.seed * 1000 + index,
              states_, counts_)
          .run(until);
    } catch (const std::exception& error) {
      std::lock_guard guard(mutex_);
      if (broken_.empty()) broken_ = error.what();
    }
  }

  // Kills and faults, until then; in the end the coordinator runs and its storage is sound.
  void trouble(Clock::time_point until) {
    constexpr const char* kPoints[] = {"server.before_commit", "commit.after_objects", "commit.before_sync",
                                       "commit.after_packs",   "commit.after_catalog", "server.before_ack"};
    while (Clock::now() < until && !is_broken()) {
      const auto kill_at = Clock::now() + std::chrono::milliseconds(1500 + random_() % 4000);
      const bool faulty = !options_.sound && random_() % 2 == 0;
      if (faulty) wait_until(std::min(Clock::now() + std::chrono::milliseconds(700), until));
      if (faulty) disturb(until);
      wait_until(std::min(kill_at, until));
      storage_.clear();
      if (Clock::now() >= until) break;
      if (coordinator_->has_ended())
        ++own_ends_;  // as it does when its storage failed; a service manager starts it again
      else
        ++kills_;
      coordinator_->kill();
      // Half of them die by themselves, at a durable step of some commit.
      std::string fault;
      if (random_() % 2 == 0)
        fault = fmt::format("{}#{}=kill", kPoints[random_() % std::size(kPoints)], 1 + random_() % 200);
      start(address_, fault);  // one that dies before it listens is as dead as the others
    }
    // The last one lives: what was not answered yet comes to its end.
    storage_.clear();
    storage_.plan().clock_offset_s = 0;
    if (!coordinator_->has_ended()) coordinator_->kill();
    start(address_, "");
  }

  // Until then, or until it has ended.
  void wait_until(Clock::time_point then) {
    while (Clock::now() < then && !coordinator_->has_ended())
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  void disturb(Clock::time_point until) {
    auto& plan = storage_.plan();
    const auto for_a_while = [&](std::uint64_t least_ms, std::uint64_t most_ms) {
      const auto wait = std::chrono::milliseconds(least_ms + random_() % (most_ms - least_ms));
      wait_until(std::min(Clock::now() + wait, until));
    };
    switch (random_() % 6) {
      case 0:
        plan.disk_full = random_() % 2 == 0 ? 1'000'000 : 20'000;
        break;
      case 1:
        plan.write_error = 5'000;
        break;
      case 2:
        plan.short_write = 50'000;
        break;
      case 3:
        plan.sync_error = 20'000;
        break;
      case 4:  // some longer than a lease
        ++hangs_;
        plan.hangs = 1;
        for_a_while(200, random_() % 4 != 0 ? 2000 : options_.seconds < 300 ? 8000 : 40'000);
        break;
      case 5:  // within what certificates allow
        ++jumps_;
        plan.clock_offset_s = static_cast<std::int64_t>(random_() % 144'000) - 72'000;
        break;
    }
    for_a_while(100, 1500);
    storage_.clear();
  }

  bool is_broken() {
    std::lock_guard guard(mutex_);
    return !broken_.empty();
  }

  const Options options_;
  std::mt19937_64 random_;
  support::TemporaryDirectory folder_;
  const std::string host_ = folder_ / "host";  // repository and state
  support::FaultyStorage storage_{folder_ / "plan", host_};
  // The real program, dying as it is told to.
  std::optional<support::CoordinatorProcess> coordinator_;
  std::string address_;  // one and the same in all its lives
  ProfileStates states_;
  Counts counts_;
  std::vector<std::string> profiles_;
  std::vector<wire::TlsLinkOptions> identities_;
  std::vector<std::vector<std::string>> assigned_;
  int kills_ = 0, own_ends_ = 0, hangs_ = 0, jumps_ = 0;
  std::mutex mutex_;
  std::string broken_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Desktops, take-overs and kills at random, compared with a model", "roamstead-chaos"};
  Options options;
  app.add_option("--desktops", options.desktops)->capture_default_str();
  app.add_option("--profiles", options.profiles)->capture_default_str();
  app.add_option("--seconds", options.seconds)->capture_default_str();
  app.add_flag("--sound", options.sound, "Storage does not fail, the clock is not set");
  app.add_option("--seed", options.seed, "0: a new one");
  CLI11_PARSE(app, argc, argv);
  if (options.seed == 0) options.seed = std::random_device{}() % 1'000'000 + 1;
  ::signal(SIGPIPE, SIG_IGN);
  set_log_level(LogLevel::error);
  fmt::print("{} desktops, {} profiles, {} s, --seed {}\n", options.desktops, options.profiles,
             options.seconds, options.seed);
  std::cout << std::flush;
  try {
    Run(options).go();
  } catch (const std::exception& error) {
    std::cerr << "roamstead-chaos: --seed " << options.seed << ": " << error.what() << '\n';
    return 1;
  }
  return 0;
}
