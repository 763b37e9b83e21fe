// The making of a pool interrupted at every step: each operation of its files, each write of the store, each
// change of an identity. Then the same command again.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "coordinator/compose/testing/pool_site.h"
#include "tests/support/command.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/faulty_sqlite.h"
#include "tests/support/seed.h"

// libntfs-3g does not free an inode that it could not write back, and has no other way to free it.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libntfs-3g\n"; }

namespace roamstead::compose {
namespace {

using support::CrashFileSystem;
using support::FaultyFileSystem;
using support::FileFault;
using support::FileOperation;
using support::must;
using testing::PoolSite;

constexpr unsigned kDesktops = 2;

// Every step of a job has a number. From a certain one on nothing works any more, as after a kill; or storage
// is full, until there is room again.
class Steps {
 public:
  enum class Ending { none, kill, full };

  void begin(Ending ending, std::uint64_t at) {
    count_ = 0;
    ending_ = ending;
    at_ = at;
  }
  std::uint64_t count() const { return count_; }
  bool reached() const { return ending_ != Ending::none && count_ > at_; }

  std::optional<FileFault> file(FileOperation operation) {
    const bool over = next();
    if (!over) return std::nullopt;
    if (ending_ == Ending::kill) return FileFault{ErrorCode::io};
    // What needs no room goes on.
    const bool grows = operation == FileOperation::create || operation == FileOperation::write ||
                       operation == FileOperation::truncate || operation == FileOperation::allocate;
    return grows ? std::optional(FileFault{ErrorCode::full}) : std::nullopt;
  }
  int store() { return next() && ending_ == Ending::kill ? SQLITE_IOERR_WRITE : SQLITE_OK; }
  Result<void> identity() {
    if (next() && ending_ == Ending::kill) return fail(ErrorCode::io, "killed");
    return {};
  }

 private:
  bool next() { return count_++ >= at_ && ending_ != Ending::none; }

  std::uint64_t count_ = 0, at_ = 0;
  Ending ending_ = Ending::none;
};

// A coordinator on storage that forgets what was not synced.
class Bench {
 public:
  Bench() : files_(*crashing_) {
    auto& real = os::real_file_system();
    must(crashing_->make_directories(os::parent_directory(site_.golden())));
    golden_ = must(os::read_file(real, site_.golden(), 1u << 30));
    auto file = must(crashing_->open(site_.golden(), os::OpenMode::create));
    must(file->write_at(0, golden_));
    must(file->sync());
    must(crashing_->sync_directory(os::parent_directory(site_.golden())));
    file.reset();
    site_.use(files_);
    site_.identity_step([this] { return steps_.identity(); });
    files_.set_plan(
        [this](FileOperation operation, const std::string&, std::size_t) { return steps_.file(operation); });
    sqlite_.set_plan([this] { return steps_.store(); });
    site_.open_store();  // on that layer
    text_ = site_.spec_text("", kDesktops);
  }

  Steps& steps() { return steps_; }
  PoolSite& site() { return site_; }
  Result<PoolResult> create() { return site_.create(text_, 1); }

  // The machine starts again.
  void power_loss(std::uint64_t seed) {
    crashing_->power_loss(seed);
    steps_.begin(Steps::Ending::none, 0);
    site_.open_store();
  }
  Result<void> remove() {
    RS_TRY(const auto spec, site_.parse(text_));
    RS_TRY(const auto running, site_.store().jobs().begin("desks", "pool delete"));
    return site_.job().remove(running, spec, {});
  }

  // A desktop that is listed as made is there wholly.
  void check_what_is_listed() {
    for (const auto& row : must(site_.store().clones("")))
      if (row.state == CloneState::made) check_desktop(row);
  }
  void check_all_is_there() {
    const auto rows = must(site_.store().clones("desks"));
    REQUIRE(rows.size() == kDesktops);
    std::set<std::string> expected{"desks.template.vhdx"};
    for (const auto& row : rows) {
      CHECK(row.state == CloneState::made);
      check_desktop(row);
      expected.insert({row.name + ".vhdx", row.name + ".reference.vhdx"});
    }
    const auto names = must(crashing_->list_directory(site_.disks()));
    CHECK(std::set<std::string>(names.begin(), names.end()) == expected);
    CHECK(site_.enrolled().size() == kDesktops);
  }
  void check_nothing_is_left() {
    CHECK(must(site_.store().pools()).empty());
    CHECK(site_.enrolled().empty());
    for (const auto& name : site_.disk_names()) CHECK_MESSAGE(false, name << " is left");
  }
  void check_golden() { CHECK(must(os::read_file(*crashing_, site_.golden(), 1u << 30)) == golden_); }
  // So that the next round begins without a pool. What it leaves is for check_nothing_is_left.
  void clear() {
    if (!must(site_.store().pools()).empty()) must(remove());
  }

 private:
  void check_desktop(const CloneRow& row) {
    const auto disk = must(WindowsDisk::open(*crashing_, site_.disk(row.name)));
    const auto hives = must(ImageHives::load(disk->volume()));
    CHECK(hives.text(HiveId::system, "ControlSet001\\Control\\ComputerName\\ComputerName", "ComputerName") ==
          row.name);
    CHECK(disk->disk().layers().size() == 4);
    CHECK(site_.enrolled().contains(row.name));
  }

  support::FaultySqlite sqlite_;
  Steps steps_;
  PoolSite site_;
  std::unique_ptr<CrashFileSystem> crashing_ = std::make_unique<CrashFileSystem>();
  FaultyFileSystem files_;
  Bytes golden_;
  std::string text_;
};

// All of them are for `ctest -L slow`; else some, others each time.
std::vector<std::uint64_t> chosen_steps(std::uint64_t count) {
  constexpr std::size_t kSome = 12;
  std::vector<std::uint64_t> all(count);
  for (std::uint64_t at = 0; at < count; ++at) all[at] = at;
  if (std::getenv("ROAMSTEAD_EVERY_STEP") != nullptr) return all;
  auto random = support::seeded_random();
  std::vector<std::uint64_t> some;
  std::sample(all.begin(), all.end(), std::back_inserter(some), kSome, random);
  return some;
}

std::uint64_t count_steps(Bench& bench) {
  bench.steps().begin(Steps::Ending::none, 0);
  must(bench.create());
  const auto count = bench.steps().count();
  bench.check_all_is_there();
  must(bench.remove());
  bench.check_nothing_is_left();
  return count;
}

}  // namespace

TEST_CASE("a pool whose making is killed at any step is finished by the same command, or taken away") {
  if (!support::available("mkntfs")) return;
  Bench bench;
  const auto count = count_steps(bench);
  CHECK(count > 100);
  for (const auto at : chosen_steps(count)) {
    CAPTURE(at);
    bench.steps().begin(Steps::Ending::kill, at);
    const auto killed = bench.create();
    // SQLite's own writes differ in number from run to run, so the last steps may not be reached.
    CHECK((!killed || !killed->failed.empty() || at + 8 > count));
    bench.power_loss(at);
    bench.check_what_is_listed();
    if (at % 3 == 2) {
      bench.clear();
    } else {
      const auto again = must(bench.create());
      CHECK(again.failed.empty());
      CHECK(again.made + again.present == kDesktops);
      bench.check_all_is_there();
      must(bench.remove());
    }
    bench.check_nothing_is_left();
  }
  bench.check_golden();
}

TEST_CASE("a pool whose deletion is killed at any step is deleted by the same command, and nothing is left") {
  if (!support::available("mkntfs")) return;
  Bench bench;
  bench.steps().begin(Steps::Ending::none, 0);
  must(bench.create());
  bench.steps().begin(Steps::Ending::none, 0);
  must(bench.remove());
  for (const auto at : chosen_steps(bench.steps().count())) {
    CAPTURE(at);
    bench.steps().begin(Steps::Ending::none, 0);
    must(bench.create());
    bench.steps().begin(Steps::Ending::kill, at);
    (void)bench.remove();
    bench.power_loss(at);
    bench.clear();
    bench.check_nothing_is_left();
  }
}

TEST_CASE(
    "a pool whose storage is full from any step on leaves nothing half made, and is finished when there is "
    "room") {
  if (!support::available("mkntfs")) return;
  Bench bench;
  const auto count = count_steps(bench);
  for (const auto at : chosen_steps(count)) {
    CAPTURE(at);
    bench.steps().begin(Steps::Ending::full, at);
    const auto refused = bench.create();
    const bool met = !refused;
    if (met) CHECK(refused.error().code == ErrorCode::full);
    bench.check_what_is_listed();
    // No half-made disk takes the room that is missing.
    std::set<std::string> made;
    for (const auto& row : must(bench.site().store().clones("")))
      if (row.state == CloneState::made) made.insert({row.name + ".vhdx", row.name + ".reference.vhdx"});
    for (const auto& name : bench.site().disk_names())
      CHECK_MESSAGE((made.contains(name) || name == "desks.template.vhdx"), name);
    bench.steps().begin(Steps::Ending::none, 0);
    const auto again = must(bench.create());
    CHECK(again.made + again.present == kDesktops);
    bench.check_all_is_there();
    must(bench.remove());
    bench.check_nothing_is_left();
  }
  bench.check_golden();
}

}  // namespace roamstead::compose
