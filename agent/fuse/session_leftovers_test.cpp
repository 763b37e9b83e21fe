// What sessions before left on a desktop is cleared away while the next one goes on. A plain directory as the
// volume, a coordinator in memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/scripted_snapshots.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using support::must;

constexpr auto kPatience = std::chrono::milliseconds(20'000);

// Deletes nothing for as long as it may go on.
class SlowlyDeletingVolume final : public ProfileVolume {
 public:
  explicit SlowlyDeletingVolume(ProfileVolume& volume) : volume_(volume) {}

  os::FileSystem& files() override { return volume_.files(); }
  std::string native_path(const std::string& path) const override { return volume_.native_path(path); }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override {
    return volume_.open(path, stream);
  }
  Result<VolumeItem> stat(const std::string& path) override { return volume_.stat(path); }
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override {
    return volume_.stat_child(directory, name);
  }
  Result<std::vector<VolumeItem>> list(const std::string& path) override { return volume_.list(path); }
  Result<void> make_directories(const std::string& path) override { return volume_.make_directories(path); }
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override {
    return volume_.stage(path, entry);
  }
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override {
    return volume_.publish(staged, directory, name);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return volume_.rename(from, to);
  }
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string&) override {
    deleting = true;
    while (go_on()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return false;
  }
  Result<void> sync() override { return volume_.sync(); }

  std::atomic<bool> deleting{false};

 private:
  ProfileVolume& volume_;
};

TEST_CASE("neither the lease nor a log-out waits until the profile before is deleted") {
  support::TemporaryDirectory directory;
  testing::MemoryLink link;
  link.lease_seconds = 3;
  testing::ScriptedSnapshots snapshots;
  link.add_file("a.txt", "hello");
  const auto volume = must(PosixVolume::attach(directory.path(), "Users/alice"));
  SessionConfig config;
  config.profile = "alice";
  config.profile_root = "Users/alice";
  config.change_log_path = directory / "change.log";
  config.snapshot_interval = std::chrono::milliseconds(0);
  must(must(Session::start(config, link, *volume, snapshots))->logout(kPatience));

  SlowlyDeletingVolume slow(*volume);
  auto session = must(Session::start(config, link, slow, snapshots));
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!slow.deleting) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto opened = link.renewals.load();
  while (link.renewals == opened) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  must(session->logout(kPatience));
  CHECK_FALSE(link.is_open());
  session.reset();

  // The next one deletes what both left.
  session = must(Session::start(config, link, *volume, snapshots));
  const auto left = [&] {
    const auto items = must(volume->list(config.agent_root));
    return std::any_of(items.begin(), items.end(),
                       [](const VolumeItem& item) { return item.name.rfind("trash-", 0) == 0; });
  };
  while (left()) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  must(session->logout(kPatience));
}

}  // namespace
}  // namespace roamstead::agent
