// Power loss, takeover and damage: whatever happens to packs and catalog, no acknowledged version is lost, no
// half version is seen, and damage is named.
#include <filesystem>

#include "coordinator/repository/pack_store.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;
using support::CrashFileSystem;
namespace fs = std::filesystem;

namespace {

constexpr const char* kShared = "/shared/repo";
constexpr const char* kUser = "alice";

// File name -> content, "hive\key" -> data of the key's value "v": what a version must hold.
using Files = std::map<std::string, Bytes>;
constexpr const char* kHiveName = "NTUSER.DAT";

// A history that uses everything a commit writes: chunks, pages, large entries, keys of a hive, forks,
// restores, a second writer epoch.
class History {
 public:
  History(CrashFileSystem& files, std::string state, std::function<void()> after_first)
      : files_(files), options_{kShared, std::move(state), false}, after_first_(std::move(after_first)) {}

  std::map<std::uint64_t, Files> acknowledged;
  std::map<std::uint64_t, Files> attempted;  // what a version of this number would hold, acknowledged or not
  bool initialised = false;

  // Runs until something fails.
  Result<void> run(const Faults& faults) {
    RS_CHECK(Repository::init(files_, options_));
    initialised = true;
    RS_CHECK(open(faults));
    RS_TRY(auto profile, repository_->create_profile(kUser));
    profile_ = profile.id;
    std::mt19937_64 random(9);
    BatchMaker first;
    put(first, "a", random_bytes(random, 40'000));
    put(first, "b", to_bytes("small"));
    first.directory(kHiveName).entry.kind = profile::EntryKind::registry;
    pending_.push_back({kHiveName, {}});
    put_key(first, "Software", to_bytes("value"));
    put_key(first, "Software\\large", random_bytes(random, 30'000));
    RS_CHECK(commit(first, {}));
    after_first_();
    BatchMaker second;
    put(second, "c", random_bytes(random, 200'000));
    put(second, "b", to_bytes("changed"));
    put_key(second, "Software", to_bytes("other"));
    put_key(second, "new", random_bytes(random, 4'097));
    delete_key(second, "Software\\large");
    RS_CHECK(commit(second, {}));
    CommitOrigin fork;
    fork.kind = VersionKind::fork;
    BatchMaker aside;
    put(aside, "forked", to_bytes("beside the head"));
    RS_CHECK(commit(aside, fork));
    auto fork_version = number_;
    RS_CHECK(open(faults));
    BatchMaker third;
    put(third, "d", random_bytes(random, 5'000)).entry.metadata.security = random_bytes(random, 9'000);
    put_key(third, "new", random_bytes(random, 20)).entry.security = random_bytes(random, 9'000);
    RS_CHECK(commit(third, {}));
    auto merged = content_;
    merged["forked"] = to_bytes("beside the head");
    attempted[++number_] = merged;
    RS_CHECK(repository_->merge(profile_, fork_version, false, {}).map([](const MergeResult&) {}));
    acknowledged[number_] = merged;
    content_ = merged;
    head_ = number_;
    BatchMaker unwanted;
    put(unwanted, "unwanted", to_bytes("?"));
    RS_CHECK(commit(unwanted, fork));
    attempted[number_ + 1] = attempted[number_];
    RS_CHECK(repository_->discard(profile_, number_, {}).map([](const VersionInfo&) {}));
    acknowledged[number_ + 1] = attempted[number_ + 1];
    return {};
  }

  void close() { repository_.reset(); }

 private:
  Result<void> open(const Faults& faults) {
    repository_.reset();
    RS_TRY(repository_, Repository::open(files_, options_, faults));
    return {};
  }

  profile::Put& put(BatchMaker& maker, const std::string& name, const Bytes& bytes) {
    pending_.push_back({name, bytes});
    return maker.file(name, bytes);
  }

  profile::PutKey& put_key(BatchMaker& maker, const std::string& key, const Bytes& data) {
    pending_.push_back({std::string(kHiveName) + "\\" + key, data});
    return maker.key(kHiveName, key, "v", data);
  }
  void delete_key(BatchMaker& maker, const std::string& key) {
    maker.batch.records.push_back(profile::DeleteKey{path(kHiveName), profile::KeyPath::parse(key).value()});
    gone_.push_back(std::string(kHiveName) + "\\" + key);
  }

  Result<void> commit(BatchMaker& maker, const CommitOrigin& origin) {
    auto files = content_;
    for (auto& [name, bytes] : pending_) files[name] = bytes;
    for (auto& name : gone_) files.erase(name);
    pending_.clear();
    gone_.clear();
    attempted[++number_] = files;
    RS_TRY(auto committed, repository_->commit(profile_, head_, maker.batch, maker.content, origin));
    REQUIRE(committed.number == number_);
    acknowledged[number_] = files;
    if (origin.kind != VersionKind::fork) {
      content_ = files;
      head_ = number_;
    }
    return {};
  }

  CrashFileSystem& files_;
  Options options_;
  std::function<void()> after_first_;
  std::unique_ptr<Repository> repository_;
  ProfileId profile_;
  Files content_;
  std::vector<std::pair<std::string, Bytes>> pending_;
  std::vector<std::string> gone_;
  std::uint64_t number_ = 0, head_ = 0;
};

void check_version(const Repository& repository, const ProfileId& profile, std::uint64_t number,
                   const Files& expected) {
  auto tree = repository.tree(profile, number);
  REQUIRE_MESSAGE(tree, tree.error().to_string());
  auto children = (*tree)->list({}, "", 100).value();
  std::size_t keys = 0;
  if (expected.count(kHiveName) != 0) {
    auto all = (*tree)->keys(path(kHiveName), {}, profile::KeyScope::subtree, "", 1u << 20);
    REQUIRE_MESSAGE(all, all.error().to_string());
    for (const auto& state : all->keys) {
      if (state.path.is_root()) continue;
      ++keys;
      REQUIRE(state.values.size() == 1);
      const auto& data = expected.at(std::string(kHiveName) + "\\" + state.path.text());
      Bytes found(state.values[0].size_bytes);
      auto read = (*tree)->read_value(path(kHiveName), state.path, "v", 0, found);
      REQUIRE_MESSAGE(read, read.error().to_string());
      REQUIRE(found == data);
    }
  }
  REQUIRE(children.size() + keys == expected.size());
  for (const auto& child : children) {
    REQUIRE(expected.count(child.name) == 1);
    if (child.name == kHiveName) continue;
    Bytes found(child.entry.size_bytes);
    auto read = (*tree)->read(path(child.name), "", 0, found);
    REQUIRE_MESSAGE(read, read.error().to_string());
    REQUIRE(found == expected.at(child.name));
  }
}

// Everything acknowledged is there; what else is there is whole; and the repository can be written again.
void check_recovered(CrashFileSystem& files, const Options& options, const History& history) {
  auto opened = Repository::open(files, options);
  REQUIRE_MESSAGE(opened, opened.error().to_string());
  auto& repository = **opened;
  auto profile = repository.find_profile(kUser);
  if (!profile) {
    REQUIRE(history.acknowledged.empty());
    profile = repository.create_profile(kUser);
    REQUIRE_MESSAGE(profile, profile.error().to_string());
  }
  auto versions = repository.versions(profile->id).value();
  REQUIRE(versions.size() >= history.acknowledged.size());
  for (std::size_t i = 0; i < versions.size(); ++i) {
    REQUIRE(versions[i].number == i + 1);
    REQUIRE(history.attempted.count(i + 1) == 1);
    check_version(repository, profile->id, i + 1, history.attempted.at(i + 1));
  }
  auto report = repository.check({}).value();
  for (const auto& problem : report.problems) FAIL_CHECK(problem);
  BatchMaker maker;
  maker.file("after the crash", "works");
  auto committed = repository.commit(profile->id, profile->head, maker.batch, maker.content, {});
  REQUIRE_MESSAGE(committed, committed.error().to_string());
  CHECK(committed->number == versions.size() + 1);
}

void copy_state(const std::string& from, const std::string& to) {
  fs::remove_all(to);
  fs::create_directories(to);
  for (const auto& file : fs::directory_iterator(from))
    fs::copy_file(file.path(), fs::path(to) / file.path().filename());
}

enum class CatalogState { as_is, deleted, older };

void check_after_crash(CrashFileSystem& files, support::TemporaryDirectory& place, const History& history,
                       std::uint64_t seed) {
  files.power_loss(seed);
  for (auto state : {CatalogState::as_is, CatalogState::deleted, CatalogState::older}) {
    auto copy = files.clone();
    Options options{kShared, place / "try", false};
    fs::remove_all(options.state_directory);
    if (state == CatalogState::as_is && fs::exists(place / "state"))
      copy_state(place / "state", options.state_directory);
    if (state == CatalogState::older && fs::exists(place / "old"))
      copy_state(place / "old", options.state_directory);
    if (state == CatalogState::deleted) {
      auto rebuilt = Repository::rebuild_catalog(*copy, options);
      REQUIRE_MESSAGE(rebuilt, rebuilt.error().to_string());
    }
    INFO("catalog state " << static_cast<int>(state));
    check_recovered(*copy, options, history);
  }
}

void run_and_crash(const Faults& faults, std::uint64_t crash_at, std::uint64_t seed, bool& finished,
                   std::uint64_t& operations) {
  support::TemporaryDirectory place;
  CrashFileSystem files;
  if (crash_at != 0) files.crash_after(crash_at - 1);
  History history(files, place / "state", [&] { copy_state(place / "state", place / "old"); });
  finished = history.run(faults).has_value();
  operations = files.operations();
  history.close();
  if (history.initialised) check_after_crash(files, place, history, seed);
}

}  // namespace

TEST_CASE(
    "power is lost at every operation on the packs: no acknowledged version is lost, no half one is seen") {
  auto random = support::seeded_random();
  bool finished = false;
  std::uint64_t operations = 0;
  run_and_crash({}, 0, 1, finished, operations);
  REQUIRE(finished);
  CHECK(operations > 40);
  auto total = operations;
  for (std::uint64_t crash_at = 1; crash_at <= total; ++crash_at) {
    CAPTURE(crash_at);
    run_and_crash({}, crash_at, random(), finished, operations);
    CHECK_FALSE(finished);
  }
}

TEST_CASE("the process dies at every fault point of a commit: the same holds") {
  auto random = support::seeded_random();
  for (std::string point :
       {"commit.after_objects", "commit.before_sync", "commit.after_packs", "commit.after_catalog"}) {
    for (int time = 1; time <= 4; ++time) {
      CAPTURE(point);
      CAPTURE(time);
      int reached = 0;
      Faults faults([&](std::string_view at) -> Result<void> {
        if (at == point && ++reached >= time) return fail(ErrorCode::io, "the test's fault");
        return {};
      });
      bool finished = true;
      std::uint64_t operations = 0;
      run_and_crash(faults, 0, random(), finished, operations);
      CHECK_FALSE(finished);
    }
  }
}

TEST_CASE("after a failed commit the same batch, sent again to the reopened repository, is committed once") {
  for (std::string point :
       {"commit.after_objects", "commit.before_sync", "commit.after_packs", "commit.after_catalog"}) {
    TestRepository test;
    test.reopen(Faults([&](std::string_view at) -> Result<void> {
      return at == point ? fail(ErrorCode::io, "the test's fault") : Result<void>{};
    }));
    BatchMaker maker;
    maker.file("a", "A");
    CHECK_FALSE(test.commit(maker));
    test.reopen();
    CHECK(test.commit(maker, 0)->number == 1);
    CHECK(test.repository->versions(test.profile)->size() == 1);
    CHECK(test.read(1, "a") == to_bytes("A"));
  }
}

namespace {

// Two coordinators with state directories of their own on one shared storage.
struct TwoHosts {
  TwoHosts() {
    REQUIRE(Repository::init(files, first));
    REQUIRE(commit(files, first, "one", 1));
  }
  // Opens, commits one file, closes.
  static Result<VersionInfo> commit(os::FileSystem& files, const Options& options, const std::string& name,
                                    std::uint64_t expected) {
    RS_TRY(auto repository, Repository::open(files, options));
    auto profile = repository->find_profile(kUser);
    if (!profile) profile = repository->create_profile(kUser);
    BatchMaker maker;
    maker.file(name, "content of " + name);
    RS_TRY(auto info, repository->commit(profile->id, profile->head, maker.batch, maker.content, {}));
    CHECK(info.number == expected);
    return info;
  }
  static std::vector<std::string> names(os::FileSystem& files, const Options& options) {
    auto repository = Repository::open(files, options).value();
    auto profile = repository->find_profile(kUser).value();
    std::vector<std::string> found;
    auto children = repository->tree(profile.id, profile.head).value()->list({}, "", 100).value();
    for (const auto& child : children) found.push_back(child.name);
    auto report = repository->check({}).value();
    for (const auto& problem : report.problems) FAIL_CHECK(problem);
    return found;
  }

  support::TemporaryDirectory place;
  CrashFileSystem files;
  Options first{kShared, place / "first", false};
  Options second{kShared, place / "second", false};
};

Bytes whole_file(os::FileSystem& files, const std::string& name) {
  return os::read_file(files, name, 1u << 30).value();
}

std::vector<std::string> pack_files(os::FileSystem& files) {
  std::vector<std::string> found;
  auto packs = std::string(kShared) + "/packs";
  auto epochs = files.list_directory(packs).value();
  for (const auto& epoch : epochs) {
    auto names = files.list_directory(packs + "/" + epoch).value();
    for (const auto& name : names)
      if (name.ends_with(".pack")) found.push_back(packs + "/" + epoch + "/" + name);
  }
  return found;
}

}  // namespace

TEST_CASE("a writer that was taken over while it slept acknowledges nothing and changes nothing") {
  TwoHosts hosts;
  auto sleeper = Repository::open(hosts.files, hosts.first).value();
  auto profile = sleeper->find_profile(kUser).value();
  BatchMaker before, late;
  before.file("before", "B");
  late.file("late", "L");
  REQUIRE(sleeper->commit(profile.id, 1, before.batch, before.content, {}));
  REQUIRE(TwoHosts::commit(hosts.files, hosts.second, "two", 3));
  auto refused = sleeper->commit(profile.id, 2, late.batch, late.content, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::stale);
  CHECK(sleeper->create_profile("bob").error().code == ErrorCode::stale);
  CHECK_FALSE(sleeper->commit(profile.id, 2, late.batch, late.content, {}));
  sleeper.reset();
  std::vector<std::string> expected{"before", "one", "two"};
  CHECK(TwoHosts::names(hosts.files, hosts.second) == expected);
  CHECK(TwoHosts::names(hosts.files, hosts.first) == expected);
  fs::remove_all(hosts.second.state_directory);
  REQUIRE(Repository::rebuild_catalog(hosts.files, hosts.second));
  CHECK(TwoHosts::names(hosts.files, hosts.second) == expected);
  auto repository = Repository::open(hosts.files, hosts.second).value();
  CHECK(repository->profiles()->size() == 1);
}

TEST_CASE(
    "bytes that an old epoch's writer appends later count for nobody, and a catalog that holds them is made "
    "anew") {
  TwoHosts hosts;
  REQUIRE(TwoHosts::commit(hosts.files, hosts.first, "two", 2));
  auto before = hosts.files.clone();
  // The old writer goes on on storage that, for it, looks as if nothing had happened.
  {
    auto repository = Repository::open(hosts.files, hosts.first).value();
    auto profile = repository->find_profile(kUser).value();
    BatchMaker maker;
    maker.file("unseen", "U");
    REQUIRE(repository->commit(profile.id, 2, maker.batch, maker.content, {}));
  }
  auto old_packs = pack_files(hosts.files);
  // Meanwhile, on what the others see, a successor takes the same steps further.
  REQUIRE(TwoHosts::commit(*before, hosts.second, "three", 3));
  REQUIRE(TwoHosts::commit(*before, hosts.second, "four", 4));
  std::vector<std::string> expected{"four", "one", "three", "two"};
  // The old writer's bytes arrive late, at the end of packs of epochs that are over.
  auto late = whole_file(hosts.files, old_packs.back());
  for (const auto& name : pack_files(*before)) {
    if (name == pack_files(*before).back()) continue;
    auto file = before->open(name, os::OpenMode::read_write).value();
    REQUIRE(file->write_at(file->size().value(), ByteView(late).subspan(kPackHeaderBytes)));
    REQUIRE(file->sync());
  }
  CHECK(TwoHosts::names(*before, hosts.second) == expected);
  CHECK(TwoHosts::names(*before, hosts.first) == expected);  // its catalog knew version 3 as "unseen"
  fs::remove_all(hosts.second.state_directory);
  CHECK(TwoHosts::names(*before, hosts.second) == expected);
}

TEST_CASE("check names the hive, and the value, whose page, record or chunk is damaged") {
  auto random = support::seeded_random();
  TestRepository test;
  BatchMaker maker;
  maker.directory(kHiveName).entry.kind = profile::EntryKind::registry;
  maker.key(kHiveName, "A", "of A", random_bytes(random, 30'000));
  maker.key(kHiveName, "B", "of B", random_bytes(random, 10)).entry.security = random_bytes(random, 60'000);
  REQUIRE(test.commit(maker));
  auto pack = test.place / "repo/packs/00000001/00001.pack";
  const auto content = os::read_file(test.files, pack, 1u << 30).value();
  auto options = test.options;
  options.read_only = true;
  std::map<ObjectType, std::string> found;
  for (std::size_t at = kPackHeaderBytes; at < content.size();) {
    auto header = parse_record_header(ByteView(content).subspan(at)).value();
    auto damaged = content;
    damaged[at + header.record_bytes() - 1] ^= std::byte{1};
    REQUIRE(test.files.open(pack, os::OpenMode::read_write).value()->write_at(0, damaged));
    auto report = Repository::open(test.files, options).value()->check({}).value();
    for (const auto& problem : report.problems) found[header.type] += problem + "\n";
    at += header.record_bytes();
  }
  CHECK(found[ObjectType::chunk].find("alice@1/NTUSER.DAT value 'of A': needs object") != std::string::npos);
  CHECK(found[ObjectType::entry].find("alice@1/NTUSER.DAT: needs object") != std::string::npos);
  CHECK(found[ObjectType::page].find("alice@1/NTUSER.DAT: ") != std::string::npos);
}

TEST_CASE("every damaged byte of a pack is found by check, and reads fail clearly or give what was written") {
  auto random = support::seeded_random();
  TestRepository test;
  BatchMaker first, second;
  auto big = random_bytes(random, 150'000);
  first.directory("folder");
  first.file("folder/big", big);
  first.file("small", "tiny").entry.metadata.security = random_bytes(random, 9'000);
  second.file("other", random_bytes(random, 30'000));
  REQUIRE(test.commit(first));
  REQUIRE(test.commit(second));
  auto pack = test.place / "repo/packs/00000001/00001.pack";
  auto content = os::read_file(test.files, pack, 1u << 30).value();
  auto options = test.options;
  options.read_only = true;
  for (int round = 0; round < 150; ++round) {
    auto damaged = content;
    auto at = round < 60 ? static_cast<std::size_t>(round) : random() % damaged.size();
    damaged[at] ^= static_cast<std::byte>(1 + random() % 255);
    CAPTURE(at);
    REQUIRE(test.files.open(pack, os::OpenMode::read_write).value()->write_at(0, damaged));
    auto reader = Repository::open(test.files, options).value();
    auto report = reader->check({});
    REQUIRE(report);
    CHECK_FALSE(report->problems.empty());
    bool named = false;
    for (const auto& problem : report->problems)
      named |= problem.find("00000001/00001.pack") != std::string::npos;
    CHECK(named);
    auto tree = reader->tree(test.profile, 2);
    if (!tree) continue;
    Bytes found(big.size());
    auto read = (*tree)->read(path("folder/big"), "", 0, found);
    CHECK((read ? found == big : read.error().code == ErrorCode::corrupt));
  }
  // Cut short anywhere.
  for (int round = 0; round < 20; ++round) {
    auto length = random() % content.size();
    auto file = test.files.open(pack, os::OpenMode::read_write).value();
    REQUIRE(file->write_at(0, content));
    REQUIRE(file->truncate(length));
    auto reader = Repository::open(test.files, options).value();
    CHECK_FALSE(reader->check({})->problems.empty());
  }
  REQUIRE(test.files.open(pack, os::OpenMode::read_write).value()->write_at(0, content));
  CHECK(test.repository->check({})->problems.empty());
}

TEST_CASE(
    "a rebuild steps over damage: other versions are there, and damage before acknowledged ones hides none "
    "of them") {
  auto random = support::seeded_random();
  TestRepository test;
  for (int i = 0; i < 6; ++i) {
    BatchMaker maker;
    maker.file("file" + std::to_string(i), random_bytes(random, 3'000));
    REQUIRE(test.commit(maker));
  }
  test.repository.reset();
  auto pack = test.place / "repo/packs/00000001/00001.pack";
  auto content = os::read_file(test.files, pack, 1u << 30).value();
  for (int round = 0; round < 12; ++round) {
    auto damaged = content;
    // Within the first three commits; the last ones prove that these were durable.
    damaged[kPackHeaderBytes + random() % (damaged.size() / 2 - kPackHeaderBytes)] ^= std::byte{0x40};
    REQUIRE(test.files.open(pack, os::OpenMode::read_write).value()->write_at(0, damaged));
    fs::remove_all(test.options.state_directory);
    REQUIRE(Repository::rebuild_catalog(test.files, test.options));
    auto options = test.options;
    options.read_only = true;
    auto reader = Repository::open(test.files, options).value();
    CHECK(reader->find_profile("alice")->head == 6);
    CHECK(reader->versions(test.profile)->size() >= 5);
    CHECK(reader->tree(test.profile, 6));
  }
}
