// The loader's laws at every point at which the agent may die: whatever the volume and the journal hold then,
// the next process makes of it exactly what the version lists, each item known as the base's, nothing twice.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "agent/core/loader.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using extract::ProvenanceJournal;
using testing::MemoryLink;

constexpr const char* kRoot = "Users/alice";
constexpr const char* kStaging = ".roamstead/staging";

// A volume whose process dies before one of its changes: that one and all after it do not happen.
class DyingVolume final : public ProfileVolume {
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
  Result<void> remove_tree(const std::string& path) override {
    if (!change()) return {};  // the dead clean nothing up
    return volume_.remove_tree(path);
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

template <class T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Machine {
  support::TemporaryDirectory directory;
  MemoryLink link;
  Guid secret;
  profile::Entry root;
  std::unique_ptr<PosixVolume> volume;
  std::string journal_path;

  Machine() {
    for (auto* path :
         {"a", "Folder/b", "Folder/c", "Folder/Deep/d", "Folder/Deep/Deeper/e", "Other/f", "Other/g"})
      link.add_file(path, path);
    link.add_directory("Folder/Empty");
    for (int i = 0; i < 70; ++i) link.add_file("Wide/" + std::to_string(i), "x");
    volume = must(PosixVolume::attach(directory.path(), kRoot));
    auto opened = must(link.open({"alice", kRoot, std::nullopt}));
    secret = opened.session_secret;
    root = opened.root;
    must(volume->make_directories(kStaging));
    must(volume->make_directories("Users"));
    journal_path = volume->native_path(".roamstead/journal");
    must(ProvenanceJournal::create(volume->files(), journal_path,
                                   {opened.session, "alice", 1, kRoot, kStaging}));
  }

  // One process: recovers, then populates everything. Whether it came to the end.
  bool run(DyingVolume& dying, Priority priority) {
    auto journal = must(ProvenanceJournal::open(volume->files(), journal_path));
    Loader loader(link, secret, dying, *journal, {std::chrono::milliseconds(50)});
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
        auto* by_base = provenance.find_by_base(profile::ProfilePath::parse(path).value());
        REQUIRE(by_base != nullptr);
        CHECK(by_base->identity.record == there.record);
        CHECK(provenance.find_by_record(there.record) == by_base);
        if (there.directory) CHECK(by_base->populated);
      }
      for (auto& [id, state] : provenance.items()) {
        INFO(state.base_path.text());
        if (!state.withdrawn) CHECK(provenance.find_by_base(state.base_path)->id == id);
      }
    });
    CHECK(items == 7 + 70 + 6);
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

}  // namespace
}  // namespace roamstead::agent
