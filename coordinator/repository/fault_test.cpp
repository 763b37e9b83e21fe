// Storage that fails while many commit: full disks, errors, writes cut short, writes that are done and said
// to have failed, hangs that end after somebody else took over; and power lost afterwards. What was
// acknowledged is there, whole, and the rest is a clear error.
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <thread>

#include "coordinator/repository/test_content.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;
using support::CrashFileSystem;
using support::FaultyFileSystem;
using support::FileFault;
using support::FileOperation;

namespace {

constexpr const char* kShared = "/shared/repo";

// One user's session: file after file, each in a batch of its own that is sent until it is acknowledged.
struct Committer {
  ProfileId profile;
  std::map<std::uint64_t, Bytes> acknowledged;  // by version: what its file has
  std::optional<BatchMaker> pending;            // to be sent again
  Bytes pending_content;

  static std::string name(std::uint64_t version) { return "file " + std::to_string(version); }

  Result<void> commit(Repository& repository, std::mt19937_64& random) {
    const auto number = acknowledged.empty() ? 1 : acknowledged.rbegin()->first + 1;
    if (!pending) {
      pending_content = random_bytes(random, random() % 4 == 0 ? 150'000 : random() % 3000);
      pending.emplace();
      pending->file(name(number), pending_content);
    }
    RS_TRY(const auto committed,
           repository.commit(profile, number - 1, pending->batch, pending->content, CommitOrigin{}));
    if (committed.number != number) return fail(ErrorCode::internal, "another version than the next");
    acknowledged[number] = pending_content;
    pending.reset();
    return {};
  }
};

// Every acknowledged file in the version that brought it and in the last one; at most the pending batch more.
void check_everything(const Repository& repository, const std::vector<Committer>& committers) {
  for (const auto& committer : committers) {
    const auto versions = repository.versions(committer.profile).value();
    REQUIRE(versions.size() >= committer.acknowledged.size());
    REQUIRE(versions.size() <= committer.acknowledged.size() + (committer.pending ? 1 : 0));
    if (versions.empty()) continue;
    const auto last = repository.tree(committer.profile, versions.size()).value();
    for (const auto& [number, content] : committer.acknowledged) {
      const auto at = path(Committer::name(number));
      for (const auto version : {number, std::uint64_t{versions.size()}}) {
        const auto tree = repository.tree(committer.profile, version).value();
        Bytes found(tree->lookup(at).value().size_bytes);
        const auto read = tree->read(at, "", 0, found);
        REQUIRE_MESSAGE(read, read.error().to_string());
        REQUIRE(found == content);
      }
    }
  }
  const auto report = repository.check({}).value();
  for (const auto& problem : report.problems) FAIL_CHECK(problem);
}

enum class Trouble { full, io_error, short_write, lost_answer };

std::optional<FileFault> fault_of(Trouble trouble, FileOperation operation, std::size_t bytes) {
  switch (trouble) {
    case Trouble::full:  // a full disk can still be synced
      if (operation == FileOperation::sync || operation == FileOperation::sync_directory ||
          operation == FileOperation::remove)
        return std::nullopt;
      return FileFault{ErrorCode::full, bytes / 2, false};
    case Trouble::io_error:
      return FileFault{ErrorCode::io, 0, false};
    case Trouble::short_write:
      return FileFault{ErrorCode::io, bytes == 0 ? 0 : bytes - 1, false};
    case Trouble::lost_answer:
      break;
  }
  return FileFault{ErrorCode::io, 0, true};
}

}  // namespace

TEST_CASE("many commit while the disk fills up, fails, writes half or lies: nothing acknowledged is lost") {
  auto random = support::seeded_random();
  for (int round = 0; round < 8; ++round) {
    CAPTURE(round);
    support::TemporaryDirectory place;
    CrashFileSystem disk;
    FaultyFileSystem files(disk);
    const Options options{kShared, place / "state", false};
    REQUIRE(Repository::init(files, options));
    std::vector<Committer> committers(6);
    {
      const auto repository = Repository::open(files, options).value();
      for (std::size_t i = 0; i < committers.size(); ++i)
        committers[i].profile = repository->create_profile("user-" + std::to_string(i)).value().id;
    }
    const auto trouble = static_cast<Trouble>(round % 4);
    std::size_t failures = 0;
    // Opened and used until something fails, as the coordinator does, which then starts again.
    for (int life = 0; life < 4; ++life) {
      std::atomic<std::int64_t> passed{static_cast<std::int64_t>(10 + random() % 60)};
      std::atomic<bool> failing{false};
      const bool lasting = trouble == Trouble::full || random() % 2 == 0;
      if (life < 3)
        files.set_plan(
            [&](FileOperation operation, const std::string&, std::size_t bytes) -> std::optional<FileFault> {
              if (--passed >= 0 || (!lasting && failing)) return std::nullopt;
              const auto fault = fault_of(trouble, operation, bytes);
              if (fault) failing = true;
              return fault;
            });
      auto repository = Repository::open(files, options);
      if (!repository) {
        REQUIRE(failing);
        REQUIRE(repository.error().to_string().find(kShared) != std::string::npos);
        ++failures;
        files.set_plan({});
        continue;
      }
      std::vector<std::thread> threads;
      std::vector<std::string> wrong(committers.size());
      std::atomic<std::size_t> refused{0};
      for (std::size_t i = 0; i < committers.size(); ++i)
        threads.emplace_back([&, i, seed = random()] {
          std::mt19937_64 own(seed);
          for (int n = 0; n < (life < 3 ? 40 : 3); ++n) {
            const auto done = committers[i].commit(**repository, own);
            if (done) continue;
            ++refused;
            const auto text = done.error().to_string();
            if (!failing || done.error().code == ErrorCode::internal || text.size() < 20) wrong[i] = text;
            if (done.error().code == ErrorCode::full && text.find(kShared) == std::string::npos)
              wrong[i] = text;
            return;
          }
        });
      for (auto& thread : threads) thread.join();
      for (const auto& text : wrong) CHECK_MESSAGE(text.empty(), text);
      failures += refused;
      repository->reset();
      files.set_plan({});
      if (random() % 2 == 0) {
        const auto seed = random();
        CAPTURE(seed);
        disk.power_loss(seed);
      }
      const auto again = Repository::open(files, options);
      REQUIRE_MESSAGE(again, again.error().to_string());
      check_everything(**again, committers);
    }
    CHECK(failures > 0);
    for (const auto& committer : committers) CHECK(committer.acknowledged.size() > 2);
  }
}

namespace {

// Storage that stops answering at one operation, and everybody who asks after that, until it is let go.
class Hang {
 public:
  explicit Hang(std::uint64_t at) : left_(at) {}

  std::optional<FileFault> operator()(FileOperation /*operation*/) {
    std::unique_lock lock(mutex_);
    if (over_ || left_-- > 0) return std::nullopt;
    left_ = 0;
    hanging_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return over_; });
    return std::nullopt;  // and then does what it was asked for
  }
  // False: the work ended without coming so far.
  bool wait_until_hanging(const std::atomic<bool>& ended) {
    std::unique_lock lock(mutex_);
    while (!hanging_ && !ended) changed_.wait_for(lock, std::chrono::milliseconds(2));
    return hanging_;
  }
  void let_go() {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t left_;
  bool hanging_ = false, over_ = false;
};

}  // namespace

TEST_CASE(
    "storage hangs at any operation of a commit, another host takes over, the late write harms nobody") {
  auto random = support::seeded_random();
  std::size_t hung = 0, refused = 0;
  // One and the same commit hangs at its first operation, its second, and so on: large enough to have
  // several.
  const auto large = random_bytes(random, 150'000);
  for (std::uint64_t at = 0;; ++at) {
    CAPTURE(at);
    support::TemporaryDirectory place;
    CrashFileSystem disk;
    const Options first{kShared, place / "first", false}, second{kShared, place / "second", false};
    REQUIRE(Repository::init(disk, first));
    FaultyFileSystem storage(disk);  // as the first host sees it
    std::vector<Committer> committers(1);
    auto& committer = committers.front();
    auto sleeper = Repository::open(storage, first).value();
    committer.profile = sleeper->create_profile("alice").value().id;
    REQUIRE(committer.commit(*sleeper, random));
    Hang hang(at);
    storage.set_plan(
        [&](FileOperation operation, const std::string&, std::size_t) { return hang(operation); });
    std::atomic<bool> ended{false};
    auto late = committer;  // what the first host believes
    late.pending_content = large;
    late.pending.emplace();
    late.pending->file(Committer::name(2), large);
    Result<void> answer;
    std::thread committing([&, seed = random()] {
      std::mt19937_64 own(seed);
      answer = late.commit(*sleeper, own);
      ended = true;
    });
    const bool stopped = hang.wait_until_hanging(ended);
    if (!stopped) {
      committing.join();
      CHECK(answer);
      break;  // that was all of a commit's operations
    }
    ++hung;
    {
      // The lease has run out; another host goes on without the first one's help.
      auto successor = Repository::open(disk, second);
      REQUIRE_MESSAGE(successor, successor.error().to_string());
      const auto versions = (*successor)->versions(committer.profile).value();
      REQUIRE(versions.size() >= 1);
      REQUIRE(versions.size() <= 2);
      // A batch that was durable but unanswered may be there; then it is the first host's.
      const bool was_durable = versions.size() == 2;
      BatchMaker maker;
      const auto content = random_bytes(random, 2000);
      maker.file("successor", content);
      REQUIRE((*successor)->commit(committer.profile, versions.size(), maker.batch, maker.content, {}));
      hang.let_go();
      committing.join();
      // What the first host acknowledged now must be what the successor has.
      if (answer) CHECK(was_durable);
      if (!answer) {
        ++refused;
        CHECK(answer.error().code == ErrorCode::stale);
        CHECK(answer.error().to_string().size() > 20);
      }
      // It never acknowledges anything more, and reads of the successor are right.
      BatchMaker more;
      more.file("more", "M");
      CHECK_FALSE(sleeper->commit(committer.profile, 2, more.batch, more.content, {}));
      sleeper.reset();
      successor->reset();
      if (random() % 2 == 0) disk.power_loss(random());
      for (const auto* options : {&second, &first}) {
        const auto again = Repository::open(disk, *options);
        REQUIRE_MESSAGE(again, again.error().to_string());
        const auto found = (*again)->versions(committer.profile).value();
        REQUIRE(found.size() == (was_durable ? 3 : 2));
        const auto tree = (*again)->tree(committer.profile, found.size()).value();
        Bytes bytes(content.size());
        REQUIRE(tree->read(path("successor"), "", 0, bytes));
        CHECK(bytes == content);
        const auto entries = tree->list({}, "", 100).value();
        CHECK(entries.size() == found.size());
        const auto report = (*again)->check({}).value();
        for (const auto& problem : report.problems) FAIL_CHECK(problem);
      }
    }
  }
  CHECK(hung > 3);
  CHECK(refused > 2);
}
