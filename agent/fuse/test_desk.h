// A desktop for tests of the mount: a volume (a directory, or NTFS by ntfs-3g), a coordinator in memory, a
// session, and its profile mounted.
#pragma once

#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"
#include "agent/fuse/profile_mount.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/scripted_snapshots.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
using testing::MemoryLink;
using testing::ScriptedSnapshots;

inline bool run_command(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}
inline bool can_mount() { return ::access("/dev/fuse", R_OK | W_OK) == 0 && ::geteuid() == 0; }
inline bool have_ntfs() { return run_command("command -v ntfs-3g") && run_command("command -v mkntfs"); }

inline std::string some_content(std::size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + (i * 7 + i / 4096 * 3 + seed) % 26);
  return text;
}

inline std::string read_whole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_whole(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  REQUIRE(file.good());
}

inline std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> names;
  auto* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (auto* entry = ::readdir(directory)) names.insert(entry->d_name);
  ::closedir(directory);
  names.erase(".");
  names.erase("..");
  return names;
}

using support::must;

// The desktop's volume: a directory, or an image with NTFS under ntfs-3g.
class TestVolume {
 public:
  explicit TestVolume(bool ntfs) : ntfs_(ntfs) {
    ::mkdir(path().c_str(), 0755);
    if (!ntfs) return;
    auto image = directory_ / "disk.raw";
    REQUIRE(run_command("truncate -s 64M " + image + " && mkntfs -Q -F " + image));
    REQUIRE(run_command("ntfs-3g -o streams_interface=windows,big_writes " + image + " " + path()));
  }
  ~TestVolume() {
    for (int attempt = 0; ntfs_ && attempt < 50 && ::umount2(path().c_str(), 0) != 0 && errno == EBUSY;
         ++attempt)
      ::usleep(50'000);
  }
  std::string path() const { return directory_ / "volume"; }
  std::string mount_point() const {
    auto point = directory_ / "home";
    ::mkdir(point.c_str(), 0755);
    return point;
  }
  std::string state(const std::string& name) const { return directory_ / name; }

 private:
  support::TemporaryDirectory directory_;
  bool ntfs_;
};

inline bool with_previews = false;  // of the desks made next

class Desk {
 public:
  Desk(const TestVolume& volume, MemoryLink& link, ScriptedSnapshots& snapshots,
       std::chrono::milliseconds patience = std::chrono::milliseconds(2000))
      : home(volume.mount_point()) {
    volume_ = must(PosixVolume::attach(volume.path(), "Users/alice"));
    SessionConfig config;
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = volume.state("change.log");
    config.snapshot_interval = std::chrono::milliseconds(0);
    config.loader.patience = patience;
    config.loader.preview = with_previews;
    session = must(Session::start(config, link, *volume_, snapshots));
    mount = must(ProfileMount::mount(session->loader(), *volume_, "Users/alice", home,
                                     [this] { session->note_change(); }));
    mount->start();
  }
  std::string operator/(const std::string& name) const { return home + "/" + name; }

 private:
  std::unique_ptr<PosixVolume> volume_;

 public:
  const std::string home;
  std::unique_ptr<Session> session;
  std::unique_ptr<ProfileMount> mount;  // goes before the session
};

#define FOR_EACH_VOLUME(...)                                        \
  do {                                                              \
    if (!can_mount()) {                                             \
      std::cout << "skipped: needs root and /dev/fuse\n";           \
      return;                                                       \
    }                                                               \
    for (int way = 0; way < 3; ++way) {                             \
      bool ntfs = way == 1;                                         \
      if (ntfs && !have_ntfs()) {                                   \
        std::cout << "skipped on NTFS: ntfs-3g is not installed\n"; \
        continue;                                                   \
      }                                                             \
      with_previews = way == 2;                                     \
      INFO("NTFS: ", ntfs, ", previews: ", with_previews);          \
      TestVolume volume(ntfs);                                      \
      MemoryLink link;                                              \
      ScriptedSnapshots snapshots;                                  \
      __VA_ARGS__                                                   \
    }                                                               \
  } while (false)

}  // namespace roamstead::agent
