// What programs are shown before it is on the volume: the same as afterwards, through every way of becoming
// real.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "agent/core/settler.h"
#include "agent/fuse/test_desk.h"

namespace roamstead::agent {
namespace {

// Runs `body` for a plain directory and for NTFS, with previews.
template <class Body>
void for_each_volume_with_previews(const Body& body) {
  if (!can_mount()) {
    std::cout << "skipped: needs root and /dev/fuse\n";
    return;
  }
  for (bool ntfs : {false, true}) {
    if (ntfs && !have_ntfs()) continue;
    INFO("NTFS: ", ntfs);
    TestVolume volume(ntfs);
    MemoryLink link;
    ScriptedSnapshots snapshots;
    with_previews = true;
    body(volume, link, snapshots);
  }
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status;
}

template <class Condition>
bool comes_true(const Condition& condition) {
  for (int i = 0; i < 400 && !condition(); ++i) ::usleep(25'000);
  return condition();
}

std::string read_at(int file, std::size_t size, off_t offset) {
  std::string text(size, '\0');
  auto count = ::pread(file, text.data(), size, offset);
  REQUIRE(count >= 0);
  text.resize(static_cast<std::size_t>(count));
  return text;
}

TEST_CASE("reading makes nothing on the volume, and the same names as being there") {
  for_each_volume_with_previews([](const auto& volume, MemoryLink& link, auto& snapshots) {
    for (int i = 0; i < 50; ++i) link.add_file("Big/file " + std::to_string(i), some_content(1000, i));
    link.add_file("Big/sub/deep.txt", "deep");
    link.add_link("Big/link", profile::EntryKind::symlink, "Big/sub/deep.txt");
    Desk desk(volume, link, snapshots);
    CHECK(read_whole(desk / "Big/file 7") == some_content(1000, 7));
    CHECK(names_in(desk / "Big").size() == 52);
    CHECK(names_in(desk / "Big/sub") == std::set<std::string>{"deep.txt"});
    CHECK(::access((desk / "Big/missing").c_str(), F_OK) != 0);
    CHECK(errno == ENOENT);
    CHECK(link.reads == 1);
    CHECK(link.lists == 3);
    CHECK(names_in(volume.path() + "/Users/alice").empty());
    const auto shown = status_of(desk / "Big/file 7");
    CHECK(shown.st_size == 1000);
    CHECK(S_ISREG(shown.st_mode));
    CHECK(S_ISDIR(status_of(desk / "Big/sub").st_mode));

    // A change beside it brings all of the directory to the volume; what was shown stays what it was.
    write_whole(desk / "Big/new", "new");
    CHECK(names_in(volume.path() + "/Users/alice/Big").size() == 53);
    const auto real = status_of(desk / "Big/file 7");
    CHECK(real.st_ino == shown.st_ino);
    CHECK(real.st_mode == shown.st_mode);
    CHECK(real.st_size == shown.st_size);
    CHECK(real.st_mtim.tv_sec == shown.st_mtim.tv_sec);
    CHECK(real.st_mtim.tv_nsec == shown.st_mtim.tv_nsec);
    CHECK(read_whole(desk / "Big/file 7") == some_content(1000, 7));
    CHECK(read_whole(desk / "Big/link") == "deep");  // a link is never only shown
    CHECK(link.reads >= 1);
  });
}

TEST_CASE("who has a file open that was only shown sees what others do to it") {
  for_each_volume_with_previews([](const auto& volume, MemoryLink& link, auto& snapshots) {
    const auto content = some_content(300'000);
    link.add_file("Folder/log.txt", content);
    link.add_file("Folder/other", "other");
    link.add_file("Folder/gone", some_content(5000, 2));
    link.add_file("Folder/replaced", some_content(5000, 3));
    Desk desk(volume, link, snapshots);
    const int log = ::open((desk / "Folder/log.txt").c_str(), O_RDONLY);
    const int gone = ::open((desk / "Folder/gone").c_str(), O_RDONLY);
    const int replaced = ::open((desk / "Folder/replaced").c_str(), O_RDONLY);
    REQUIRE(log >= 0);
    REQUIRE(gone >= 0);
    REQUIRE(replaced >= 0);
    CHECK(read_at(log, 5, 0) == content.substr(0, 5));
    CHECK(read_at(gone, 5, 0) == some_content(5000, 2).substr(0, 5));
    {
      std::ofstream writer(desk / "Folder/log.txt", std::ios::app);
      writer << "appended";
    }
    CHECK(read_at(log, 100, 300'000) == "appended");
    CHECK(read_at(log, 100, 299'995) == content.substr(299'995) + "appended");
    REQUIRE(::unlink((desk / "Folder/gone").c_str()) == 0);
    CHECK(read_at(gone, 5000, 0) == some_content(5000, 2));
    REQUIRE(::rename((desk / "Folder/other").c_str(), (desk / "Folder/replaced").c_str()) == 0);
    CHECK(read_at(replaced, 5000, 0) == some_content(5000, 3));
    CHECK(read_whole(desk / "Folder/replaced") == "other");
    REQUIRE(::rename((desk / "Folder").c_str(), (desk / "Moved").c_str()) == 0);
    CHECK(read_at(log, 8, 300'000) == "appended");
    for (int file : {log, gone, replaced}) ::close(file);
    CHECK(names_in(desk / "Moved") == std::set<std::string>{"log.txt", "replaced"});
    CHECK(names_in(volume.path() + "/Users/alice") == std::set<std::string>{"Moved"});
  });
}

TEST_CASE("a directory that was only shown keeps what is below it when it is moved, and is not removed") {
  for_each_volume_with_previews([](const auto& volume, MemoryLink& link, auto& snapshots) {
    link.add_file("a/b/c/d/file", "content");
    link.add_file("a/b/other", "other");
    Desk desk(volume, link, snapshots);
    const int inside = ::open((desk / "a/b/c").c_str(), O_RDONLY | O_DIRECTORY);
    REQUIRE(inside >= 0);
    CHECK(::rmdir((desk / "a/b/c").c_str()) != 0);
    CHECK(errno == ENOTEMPTY);
    REQUIRE(::rename((desk / "a/b").c_str(), (desk / "moved").c_str()) == 0);
    CHECK(read_whole(desk / "moved/c/d/file") == "content");
    const int file = ::openat(inside, "d/file", O_RDONLY);
    REQUIRE(file >= 0);
    CHECK(read_at(file, 10, 0) == "content");
    ::close(file);
    ::close(inside);
    CHECK(names_in(desk / "a").empty());
    REQUIRE(::rmdir((desk / "a").c_str()) == 0);
    CHECK(names_in(desk.home) == std::set<std::string>{"moved"});
  });
}

TEST_CASE("what was shown comes to the volume in a quiet moment, and is there without the coordinator") {
  for_each_volume_with_previews([](const auto& volume, MemoryLink& link, auto& snapshots) {
    link.add_file("Documents/read.txt", some_content(40'000));
    link.add_file("Documents/beside.txt", "beside");
    Desk desk(volume, link, snapshots, std::chrono::milliseconds(200));
    const int held = ::open((desk / "Documents/read.txt").c_str(), O_RDONLY);
    CHECK(read_at(held, 10, 100) == some_content(40'000).substr(100, 10));
    const auto real = volume.path() + "/Users/alice/Documents/read.txt";
    REQUIRE(comes_true([&] { return read_whole(real) == some_content(40'000); }));
    CHECK(link.read_bytes == 40'000);  // not fetched again
    link.away = true;
    CHECK(read_whole(desk / "Documents/read.txt") == some_content(40'000));
    CHECK(read_at(held, 10, 30'000) == some_content(40'000).substr(30'000, 10));
    CHECK(names_in(desk / "Documents").size() == 2);
    const int beside = ::open((desk / "Documents/beside.txt").c_str(), O_RDONLY);
    char byte = 0;
    CHECK(::read(beside, &byte, 1) < 0);
    CHECK(errno != ENOENT);
    ::close(beside);
    ::close(held);
    link.away = false;
    REQUIRE(desk.mount->unmount());
    auto report = must(desk.session->logout(std::chrono::milliseconds(5000)));
    CHECK(report.records == 0);
  });
}

TEST_CASE("a working set is fetched in a few answers and shown from memory") {
  for_each_volume_with_previews([](const auto& volume, MemoryLink& link, auto& snapshots) {
    std::vector<wire::WorkingItem> items;
    for (int folder = 0; folder < 5; ++folder) {
      const auto name = "Folder " + std::to_string(folder);
      items.push_back({wire::WorkingItem::Kind::directory, name, ""});
      for (int i = 0; i < 20; ++i) {
        const auto path = name + "/" + std::to_string(i);
        link.add_file(path, some_content(2000, folder * 100 + i));
        items.push_back({wire::WorkingItem::Kind::file, path, ""});
      }
    }
    items.push_back({wire::WorkingItem::Kind::file, "Folder 0/not any more", ""});
    items.push_back({wire::WorkingItem::Kind::directory, "", ""});
    link.items_per_fetch = 40;
    REQUIRE(link.learned(must(link.open({"alice", "Users/alice", {}})).session_secret, items));
    Desk desk(volume, link, snapshots);
    REQUIRE(comes_true([&] { return must(desk.session->status()).prefetched == items.size(); }));
    CHECK(link.fetches == 3);
    const auto lists = link.lists.load();
    link.away = true;
    for (int folder = 0; folder < 5; ++folder)
      for (int i = 0; i < 20; ++i)
        CHECK(read_whole(desk / ("Folder " + std::to_string(folder) + "/" + std::to_string(i))) ==
              some_content(2000, folder * 100 + i));
    CHECK(link.lists == lists);
    CHECK(link.reads == 0);
    link.away = false;
  });
}

}  // namespace
}  // namespace roamstead::agent
