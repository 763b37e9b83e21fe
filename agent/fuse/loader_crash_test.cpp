// The loader's laws at every point at which the agent may die: whatever the volume and the journal hold then,
// the next process makes of it exactly what the version lists, each item known as the base's, nothing twice.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "agent/core/hive_file_port.h"
#include "agent/core/loader.h"
#include "agent/core/registry_loader.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/hive_model.h"
#include "agent/testing/memory_link.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using extract::ProvenanceJournal;
using testing::MemoryLink;

constexpr const char* kRoot = "Users/alice";
constexpr const char* kStaging = ".roamstead/staging";
constexpr const char* kJournal = ".roamstead/journal";

// A volume whose process dies before one of its changes: that one and all after it do not happen.
class DyingVolume : public ProfileVolume {
 public:
  DyingVolume(ProfileVolume& volume, std::uint64_t changes_left) : volume_(volume), left_(changes_left) {}
  std::uint64_t changes() const { return changes_; }
  bool dead() const { return dead_; }

  os::FileSystem& files() override { return volume_.files(); }
  std::string native_path(const std::string& path) const override { return volume_.native_path(path); }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override {
    RS_CHECK(alive());
    return volume_.open(path, stream);
  }
  Result<VolumeItem> stat(const std::string& path) override { return volume_.stat(path); }
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override {
    return volume_.stat_child(directory, name);
  }
  Result<std::vector<VolumeItem>> list(const std::string& path) override { return volume_.list(path); }
  Result<void> make_directories(const std::string& path) override {
    RS_CHECK(change());
    return volume_.make_directories(path);
  }
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override {
    RS_CHECK(change());
    return volume_.stage(path, entry);
  }
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override {
    RS_CHECK(change());
    return volume_.publish(staged, directory, name);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    RS_CHECK(change());
    return volume_.rename(from, to);
  }
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) override {
    if (!change()) return true;  // the dead clean nothing up
    return volume_.remove_tree_while(go_on, path);
  }
  Result<void> sync() override { return volume_.sync(); }

 private:
  Result<void> alive() const {
    if (dead_) return fail(ErrorCode::unavailable, "the process is dead");
    return {};
  }
  Result<void> change() {
    if (changes_ == left_) dead_ = true;
    RS_CHECK(alive());
    ++changes_;
    return {};
  }

  ProfileVolume& volume_;
  const std::uint64_t left_;
  std::uint64_t changes_ = 0;
  bool dead_ = false;
};

using support::must;

// The registry's half of a process.
struct Registry {
  Registry(MemoryLink& link, const Guid& secret, const Guid& session, ProfileVolume& volume, Loader& files)
      : port(volume, [&files] { return files.new_staging_path(); }),
        loader(link, secret, volume, port, files.gate(), files.activity(), {session, kRoot, kJournal},
               {std::chrono::milliseconds(50)}) {
    files.set_registry(&loader);
  }
  HiveFilePort port;
  RegistryLoader loader;
};

struct Machine {
  support::TemporaryDirectory directory;
  MemoryLink link;
  Guid secret, session;
  profile::Entry root;
  std::unique_ptr<PosixVolume> volume;
  std::string journal_path;

  Machine() {
    for (auto* path :
         {"a", "Folder/b", "Folder/c", "Folder/Deep/d", "Folder/Deep/Deeper/e", "Other/f", "Other/g"})
      link.add_file(path, path);
    link.add_directory("Folder/Empty");
    support::KeyModel hive;
    hive.set_value(profile::KeyPath::parse("Software\\Vendor").value(), "v", 4, Bytes(4));
    hive.set_value({}, "in the root", 4, Bytes(4));
    link.add_hive("NTUSER.DAT", hive);
    for (int i = 0; i < 70; ++i) link.add_file("Wide/" + std::to_string(i), "x");
    volume = must(PosixVolume::attach(directory.path(), kRoot));
    auto opened = must(link.open({"alice", kRoot, std::nullopt}));
    secret = opened.session_secret;
    session = opened.session;
    root = opened.root;
    must(volume->make_directories(kStaging));
    must(volume->make_directories("Users"));
    journal_path = volume->native_path(kJournal);
    must(ProvenanceJournal::create(volume->files(), journal_path,
                                   {opened.session, "alice", 1, kRoot, kStaging}));
  }

  // One process: recovers, then populates everything. Whether it came to the end.
  bool run(DyingVolume& dying, Priority priority) {
    auto journal = must(ProvenanceJournal::open(volume->files(), journal_path));
    Loader loader(link, secret, dying, *journal, {std::chrono::milliseconds(50)});
    Registry registry(link, secret, session, dying, loader);
    if (!loader.recover() || !loader.publish_root(root)) return false;
    std::vector<std::string> directories{kRoot};
    while (!directories.empty()) {
      auto path = std::move(directories.back());
      directories.pop_back();
      auto handle = dying.open(path, "");
      if (!handle || !loader.populate(**handle, priority)) return false;
      for (auto& item : must(volume->list(path)))
        if (item.directory) directories.push_back(path + "/" + item.name);
    }
    return journal->flush().has_value();
  }

  // Everything is there once, and is the base's.
  void check() {
    auto journal = must(ProvenanceJournal::open(volume->files(), journal_path));
    std::size_t items = 0;
    journal->inspect([&](const extract::Provenance& provenance) {
      auto top = std::filesystem::path(volume->native_path(kRoot));
      for (auto& each : std::filesystem::recursive_directory_iterator(top)) {
        ++items;
        auto path = each.path().lexically_relative(top).string();
        INFO(path);
        auto there = must(volume->stat(std::string(kRoot) + "/" + path));
        auto by_base = provenance.find_by_base(profile::ProfilePath::parse(path).value());
        REQUIRE(by_base != nullptr);
        CHECK(by_base->identity.record == there.record);
        CHECK(provenance.find_by_record(there.record)->id == by_base->id);
        if (there.directory) CHECK(by_base->populated);
      }
      must(provenance.for_each([&](const extract::ItemState& state) -> Result<void> {
        INFO(state.base_path.text());
        if (!state.withdrawn) CHECK(provenance.find_by_base(state.base_path)->id == state.id);
        return {};
      }));
    });
    CHECK(items == 7 + 70 + 6 + 1);
    // The hive shows its root and the names below, and the base hive tells the same.
    const auto base = extract::base_hive_path(kJournal, session, profile::hive_paths().front());
    for (const auto& path : {std::string(kRoot) + "/NTUSER.DAT", base}) {
      const auto hive =
          testing::model_of_hive(must(os::read_file(volume->files(), volume->native_path(path), 1 << 20)));
      CHECK(hive.nodes().size() == 2);
      CHECK(hive.find({})->values.size() == 1);
    }
    CHECK(link.lists > 0);
  }
};

TEST_CASE("a loader killed before any change of the volume goes on without losing or doubling an item") {
  for (auto priority : {Priority::background, Priority::foreground}) {
    CAPTURE(priority == Priority::background);
    std::uint64_t all = 0;
    {
      Machine machine;
      DyingVolume volume(*machine.volume, UINT64_MAX);
      REQUIRE(machine.run(volume, priority));
      machine.check();
      all = volume.changes();
    }
    REQUIRE(all > 80);
    for (std::uint64_t n = 0; n < all; ++n) {
      CAPTURE(n);
      Machine machine;
      DyingVolume first(*machine.volume, n);
      CHECK_FALSE(machine.run(first, priority));
      // A second death, soon after the first.
      DyingVolume second(*machine.volume, 3 + n % 5);
      (void)machine.run(second, n % 2 == 0 ? Priority::background : Priority::foreground);
      DyingVolume third(*machine.volume, UINT64_MAX);
      REQUIRE(machine.run(third, priority));
      machine.check();
    }
  }
}

// While items are staged nothing has its name yet; a power loss may then take any end of the journal along.
TEST_CASE(
    "whatever end of the journal a power loss takes while items are staged, nothing is lost or doubled") {
  auto random = support::seeded_random();
  std::uintmax_t before = 0, after = 0;
  std::uint64_t staging = 0;
  {  // the changes until the first name in the root, and the journal's length before it
    Machine machine;
    for (;; ++staging) {
      Machine tried;
      DyingVolume volume(*tried.volume, staging);
      (void)tried.run(volume, Priority::background);
      if (std::filesystem::exists(tried.volume->native_path(std::string(kRoot) + "/a")) ||
          std::filesystem::exists(tried.volume->native_path(std::string(kRoot) + "/Folder")))
        break;
      if (std::filesystem::exists(tried.volume->native_path(kRoot)) && before == 0)
        before = std::filesystem::file_size(tried.journal_path);
      after = std::filesystem::file_size(tried.journal_path);
    }
  }
  REQUIRE(after > before);
  for (int round = 0; round < 60; ++round) {
    Machine machine;
    DyingVolume volume(*machine.volume, staging - 1);
    (void)machine.run(volume, Priority::background);
    std::filesystem::resize_file(machine.journal_path, before + random() % (after - before));
    DyingVolume next(*machine.volume, UINT64_MAX);
    REQUIRE(machine.run(next, round % 2 == 0 ? Priority::background : Priority::foreground));
    machine.check();
  }
}

// One process: a loader over the volume and the journal of `machine`.
struct Process {
  std::unique_ptr<ProvenanceJournal> journal;
  Loader loader;
  Registry registry;

  Process(Machine& machine, ProfileVolume& volume, std::unique_ptr<ProvenanceJournal> opened,
          bool preview = false)
      : journal(std::move(opened)),
        loader(machine.link, machine.secret, volume, *journal, options(preview)),
        registry(machine.link, machine.secret, machine.session, volume, loader) {
    must(loader.recover());
    must(loader.publish_root(machine.root));
  }
  explicit Process(Machine& machine, bool preview = false)
      : Process(machine, *machine.volume,
                must(ProvenanceJournal::open(machine.volume->files(), machine.journal_path)), preview) {}
  static LoaderOptions options(bool preview) {
    LoaderOptions options{std::chrono::milliseconds(50)};
    options.preview = preview;
    return options;
  }

  Result<void> populate(Machine& machine, const std::string& path) {
    RS_TRY(auto handle, machine.volume->open(path, ""));
    return loader.populate(*handle);
  }
};

std::string path_in_profile(const std::string& path) { return std::string(kRoot) + "/" + path; }

std::string read_all(VolumeHandle& handle) {
  Bytes bytes(must(handle.size()));
  REQUIRE(must(handle.read(0, bytes)) == bytes.size());
  return std::string(as_text(bytes));
}

// The two processes are there at once: the second sees what a kill of the first would have left.
TEST_CASE("what a program renames or deletes in a directory just opened stays so when the agent dies") {
  Machine machine;
  Process first(machine);
  REQUIRE(first.populate(machine, kRoot));
  REQUIRE(first.populate(machine, path_in_profile("Folder")));
  auto record = must(machine.volume->stat(path_in_profile("Folder/b"))).record;
  must(machine.volume->rename(path_in_profile("Folder/b"), path_in_profile("Folder/renamed")));
  must(machine.volume->remove_tree(path_in_profile("Folder/c")));
  Process second(machine);
  REQUIRE(second.populate(machine, kRoot));
  REQUIRE(second.populate(machine, path_in_profile("Folder")));
  CHECK_FALSE(machine.volume->stat(path_in_profile("Folder/b")));
  CHECK_FALSE(machine.volume->stat(path_in_profile("Folder/c")));
  auto renamed = must(machine.volume->open(path_in_profile("Folder/renamed"), ""));
  CHECK(renamed->record() == record);
  CHECK(second.loader.load(*renamed, {0, 100}));
  CHECK(read_all(*renamed) == "Folder/b");
}

TEST_CASE("a stream that was shrunk just before the agent died gets nothing of the base back when it grows") {
  Machine machine;
  {
    Process first(machine);
    REQUIRE(first.populate(machine, kRoot));
  }
  auto handle = must(machine.volume->open(path_in_profile("a"), ""));
  must(handle->truncate(0));  // died before the base limit was recorded
  Process second(machine);
  SUBCASE("by a write") {
    CHECK(second.loader.write(*handle, 2, as_bytes("new")));
    CHECK(read_all(*handle) == std::string("\0\0new", 5));
  }
  SUBCASE("by its size") {
    CHECK(second.loader.truncate(*handle, 1));
    CHECK(second.loader.load(*handle, {0, 1}));
    CHECK(read_all(*handle) == std::string(1, '\0'));
  }
  auto limit = second.journal->inspect([](const extract::Provenance& provenance) {
    return provenance.find_by_base(profile::ProfilePath::parse("a").value())->streams.at("").base_limit;
  });
  CHECK(limit == 0);
}

TEST_CASE("zeros written over what an agent loaded before it died are no block that was never loaded") {
  Machine machine;
  {
    Process first(machine);
    REQUIRE(first.populate(machine, kRoot));
    auto handle = must(machine.volume->open(path_in_profile("a"), ""));
    must(first.loader.load(*handle, {0, 1}));  // died before the tag was recorded
  }
  Process second(machine);
  auto handle = must(machine.volume->open(path_in_profile("a"), ""));
  CHECK(second.loader.write(*handle, 0, Bytes(1)));
  CHECK(read_all(*handle) == std::string(1, '\0'));
  const auto recorded = must(ProvenanceJournal::open(machine.volume->files(), machine.journal_path));
  const auto tags = recorded->inspect([](const extract::Provenance& provenance) {
    return provenance.find_by_base(profile::ProfilePath::parse("a").value())->streams.at("").tags;
  });
  REQUIRE(tags.count(0) == 1);
  CHECK(tags.at(0) == extract::block_tag(as_bytes("a")));
}

// The volume is full for the next `refusals` writes.
class FullHandle final : public VolumeHandle {
 public:
  FullHandle(std::unique_ptr<VolumeHandle> handle, int refusals)
      : handle_(std::move(handle)), refusals_(refusals) {}
  std::uint64_t record() const override { return handle_->record(); }
  const std::string& stream() const override { return handle_->stream(); }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
    return handle_->read(offset, out);
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    if (refusals_-- > 0) return fail(ErrorCode::full, "no space left");
    return handle_->write(offset, data);
  }
  Result<void> truncate(std::uint64_t size_bytes) override { return handle_->truncate(size_bytes); }
  Result<std::uint64_t> size() override { return handle_->size(); }
  Result<void> sync() override { return handle_->sync(); }
  Result<ItemTimes> times() override { return handle_->times(); }
  Result<void> set_times(const ItemTimes& times) override { return handle_->set_times(times); }

 private:
  std::unique_ptr<VolumeHandle> handle_;
  int refusals_;
};

constexpr std::uint64_t kBlock = extract::kTagBlockBytes;

TEST_CASE("a block that a full volume did not take is not recorded as loaded") {
  Machine machine;
  machine.link.add_file("big", std::string(4 * kBlock, 'b'));
  Process process(machine);
  REQUIRE(process.populate(machine, kRoot));
  FullHandle handle(must(machine.volume->open(path_in_profile("big"), "")), 1);
  auto refused = process.loader.load(handle, {0, 1}, Priority::exact);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::full);
  REQUIRE(process.loader.load(handle, {2 * kBlock, 1}, Priority::exact));
  REQUIRE(process.loader.flush_tags());
  process.journal->inspect([](const extract::Provenance& provenance) {
    const auto item = provenance.find_by_base(profile::ProfilePath::parse("big").value());
    auto& tags = item->streams.at("").tags;
    CHECK(tags.count(0) == 0);
    CHECK(tags.count(2) == 1);
  });
}

// The base's bytes beyond the limit are not there any more; what they were is worth knowing when a program
// writes the file anew.
TEST_CASE("what was loaded or shown of a file is still known when a program cuts it short") {
  Machine machine;
  std::string text;
  for (int block = 0; block < 5; ++block) text += std::string(kBlock, static_cast<char>('a' + block));
  text.resize(text.size() - 100);
  machine.link.add_file("doc", text);
  Process process(machine, true);
  std::uint64_t limit = 0;
  std::set<std::uint64_t> known;
  SUBCASE("loaded") {
    REQUIRE(process.populate(machine, kRoot));
    auto handle = must(machine.volume->open(path_in_profile("doc"), ""));
    REQUIRE(process.loader.load(*handle, {kBlock, 3 * kBlock}, Priority::exact));
    limit = 2 * kBlock + 7;
    must(process.loader.truncate(*handle, limit));
    known = {1, 2, 3};  // what is cut through is recorded first, with all else that waits
  }
  SUBCASE("shown") {
    must(process.loader.preview_read(profile::ProfilePath::parse("doc").value(), text.size(), {0, 10}));
    REQUIRE(process.populate(machine, kRoot));
    must(process.loader.truncate(*must(machine.volume->open(path_in_profile("doc"), "")), limit));
    known = {0, 1, 2, 3, 4};
  }
  must(process.journal->flush());
  process.journal->inspect([&](const extract::Provenance& provenance) {
    const auto item = provenance.find_by_base(profile::ProfilePath::parse("doc").value());
    const auto& stream = item->streams.at("");
    CHECK(stream.base_limit == limit);
    std::set<std::uint64_t> found;
    for (const auto& [block, tag] : stream.tags) {
      found.insert(block);
      CHECK(tag == extract::block_tag(as_bytes(text).subspan(
                       block * kBlock, std::min<std::size_t>(kBlock, text.size() - block * kBlock))));
    }
    CHECK(found == known);
  });
}

TEST_CASE("zeros over a loaded block wait until its tag is durable, not only until it is on its way") {
  Machine machine;
  machine.link.add_file("big", std::string(2 * kBlock, 'b'));
  support::CrashFileSystem files;
  auto header = must(ProvenanceJournal::open(machine.volume->files(), machine.journal_path))->header();
  Process process(machine, *machine.volume, must(ProvenanceJournal::create(files, "/journal", header)));
  REQUIRE(process.populate(machine, kRoot));
  auto handle = must(machine.volume->open(path_in_profile("big"), ""));
  REQUIRE(process.loader.load(*handle, {0, 2 * kBlock}));
  files.crash_after(files.operations());
  CHECK_FALSE(process.loader.flush_tags());
  CHECK_FALSE(process.loader.write(*handle, 0, Bytes(kBlock)));
  CHECK(read_all(*handle) == std::string(2 * kBlock, 'b'));
}

TEST_CASE("zeros over the base's part of the last block wait too, whatever is written behind it") {
  Machine machine;
  machine.link.add_file("short", std::string(kBlock + 100, 'b'));
  support::CrashFileSystem files;
  auto header = must(ProvenanceJournal::open(machine.volume->files(), machine.journal_path))->header();
  Process process(machine, *machine.volume, must(ProvenanceJournal::create(files, "/journal", header)));
  REQUIRE(process.populate(machine, kRoot));
  auto handle = must(machine.volume->open(path_in_profile("short"), ""));
  REQUIRE(process.loader.load(*handle, {0, 2 * kBlock}));
  files.crash_after(files.operations());
  auto data = Bytes(100);
  CHECK(process.loader.write(*handle, kBlock + 100, Bytes(50)));  // beyond the base
  data.resize(150, std::byte{'n'});
  CHECK_FALSE(process.loader.write(*handle, kBlock, data));
  CHECK(read_all(*handle).substr(kBlock, 100) == std::string(100, 'b'));
}

// With a creation time that can be set, as NTFS has it and other file systems do not.
class DatedHandle final : public VolumeHandle {
 public:
  DatedHandle(std::unique_ptr<VolumeHandle> handle, std::uint64_t created)
      : handle_(std::move(handle)), created_(created) {}
  std::uint64_t record() const override { return handle_->record(); }
  const std::string& stream() const override { return handle_->stream(); }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
    return handle_->read(offset, out);
  }
  Result<void> write(std::uint64_t offset, ByteView data) override { return handle_->write(offset, data); }
  Result<void> truncate(std::uint64_t size_bytes) override { return handle_->truncate(size_bytes); }
  Result<std::uint64_t> size() override { return handle_->size(); }
  Result<void> sync() override { return handle_->sync(); }
  Result<ItemTimes> times() override { return ItemTimes{created_, 0}; }
  Result<void> set_times(const ItemTimes& times) override {
    created_ = times.created_100ns;
    return {};
  }

 private:
  std::unique_ptr<VolumeHandle> handle_;
  std::uint64_t created_;
};

TEST_CASE("an item whose creation time a program changes is known by it whenever the agent dies") {
  Machine machine;
  std::uint64_t created = 0;
  {
    Process first(machine);
    REQUIRE(first.populate(machine, kRoot));
    auto open = must(machine.volume->open(path_in_profile("a"), ""));
    created = must(open->times()).created_100ns;
    DatedHandle handle(std::move(open), created);
    auto change = [&]() -> Result<void> {
      for (auto time : {created, created + 5}) {  // died before, or after
        Process next(machine);
        DatedHandle found(must(machine.volume->open(path_in_profile("a"), "")), time);
        must(found.truncate(1));
        CHECK(next.loader.load(found, {0, 1}));
        CHECK(read_all(found) == "a");
        must(found.write(0, Bytes(1)));
      }
      return handle.set_times({created + 5, 0});
    };
    CHECK(first.loader.change_metadata(handle, change, created + 5));
  }
}

// Refuses one name.
class StumblingVolume final : public DyingVolume {
 public:
  StumblingVolume(ProfileVolume& volume, std::string name)
      : DyingVolume(volume, UINT64_MAX), name_(std::move(name)) {}
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override {
    if (std::exchange(name_, name == name_ ? "" : name_) == name) return fail(ErrorCode::full, "no room");
    return DyingVolume::publish(staged, directory, name);
  }

 private:
  std::string name_;
};

TEST_CASE("a directory of which only some children got their names is opened by the next attempt") {
  for (auto priority : {Priority::background, Priority::foreground}) {
    for (std::string name : {"a", "Folder", "Other", "Wide"}) {
      CAPTURE(name);
      Machine machine;
      StumblingVolume volume(*machine.volume, name);
      {
        Process process(machine, volume,
                        must(ProvenanceJournal::open(machine.volume->files(), machine.journal_path)));
        auto root = must(machine.volume->open(kRoot, ""));
        CHECK_FALSE(process.loader.populate(*root, priority));
        CHECK(process.loader.populate(*root, priority));
        CHECK(must(machine.volume->list(kStaging)).empty());
        must(process.journal->flush());
      }
      DyingVolume next(*machine.volume, UINT64_MAX);
      REQUIRE(machine.run(next, priority));
      machine.check();
    }
  }
}

}  // namespace
}  // namespace roamstead::agent
