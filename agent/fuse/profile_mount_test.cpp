// Real system calls through the mount: on a plain directory, and on NTFS where ntfs-3g is installed.
#include "agent/fuse/profile_mount.h"

#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <thread>

#include "agent/fuse/test_desk.h"

namespace roamstead::agent {
namespace {

TEST_CASE("directories fill when first looked into, and show what the version lists") {
  FOR_EACH_VOLUME({
    link.entries_per_part = 3;
    for (int i = 0; i < 10; ++i) link.add_file("Documents/file " + std::to_string(i), some_content(100 + i));
    link.add_file("Documents/deep/er/x.txt", "x");
    link.add_file("\xC3\xA4\xE2\x82\xAC.txt", "non-ASCII");
    Desk desk(volume, link, snapshots);
    CHECK(link.lists == 0);  // a log-in costs nothing per file
    CHECK(names_in(desk.home) == std::set<std::string>{"Documents", "\xC3\xA4\xE2\x82\xAC.txt"});
    CHECK(link.lists == 1);
    struct stat status {};
    CHECK(::stat((desk / "Documents/file 7").c_str(), &status) == 0);
    CHECK(status.st_size == 107);
    CHECK(status.st_mtim.tv_sec > 1'500'000'000);
    CHECK(status.st_mtim.tv_sec < 1'600'000'000);
    CHECK(names_in(desk / "Documents").size() == 11);
    CHECK(link.lists == 5);  // four parts
    CHECK(link.reads == 0);
    CHECK(read_whole(desk / "Documents/deep/er/x.txt") == "x");
    CHECK(::access((desk / "Documents/missing").c_str(), F_OK) != 0);
    CHECK(errno == ENOENT);
  });
}

TEST_CASE("what is read is loaded, and no more than is worth fetching at once") {
  FOR_EACH_VOLUME({
    auto content = some_content(3'000'000);
    link.add_file("big.bin", content);
    Desk desk(volume, link, snapshots);
    struct stat before {};
    struct stat after {};
    REQUIRE(::stat((desk / "big.bin").c_str(), &before) == 0);
    int file = ::open((desk / "big.bin").c_str(), O_RDONLY);
    REQUIRE(file >= 0);
    char buffer[100];
    REQUIRE(::pread(file, buffer, sizeof buffer, 2'000'000) == 100);
    CHECK(std::string(buffer, 100) == content.substr(2'000'000, 100));
    CHECK(link.read_bytes <= 512 << 10);
    ::close(file);
    CHECK(read_whole(desk / "big.bin") == content);
    CHECK(link.read_bytes == content.size());  // nothing twice
    CHECK(::stat((desk / "big.bin").c_str(), &after) == 0);
    CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec);
    CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    auto* mapped = static_cast<char*>(::mmap(nullptr, content.size(), PROT_READ, MAP_PRIVATE,
                                             file = ::open((desk / "big.bin").c_str(), O_RDONLY), 0));
    REQUIRE(mapped != MAP_FAILED);
    CHECK(std::string_view(mapped, content.size()) == content);
    ::munmap(mapped, content.size());
    ::close(file);
  });
}

TEST_CASE("sixteen programs that read one file fetch it once") {
  FOR_EACH_VOLUME({
    auto content = some_content(1'500'000);
    link.add_file("shared.bin", content);
    link.delay_ms = 20;
    Desk desk(volume, link, snapshots);
    std::atomic<int> right{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 16; ++i)
      readers.emplace_back([&] { right += read_whole(desk / "shared.bin") == content; });
    for (auto& reader : readers) reader.join();
    CHECK(right == 16);
    CHECK(link.read_bytes == content.size());
    CHECK(link.lists == 1);
  });
}

TEST_CASE("a write into a file that is not loaded keeps the bytes around it") {
  FOR_EACH_VOLUME({
    auto content = some_content(500'000);
    link.add_file("data.db", content);
    link.add_file("log.txt", "first line\n");
    Desk desk(volume, link, snapshots);
    int file = ::open((desk / "data.db").c_str(), O_WRONLY);
    REQUIRE(file >= 0);
    REQUIRE(::pwrite(file, "CHANGED", 7, 123'456) == 7);
    ::close(file);
    auto expected = content;
    expected.replace(123'456, 7, "CHANGED");
    CHECK(read_whole(desk / "data.db") == expected);
    {
      std::ofstream log(desk / "log.txt", std::ios::app);
      log << "second line\n";
    }
    CHECK(read_whole(desk / "log.txt") == "first line\nsecond line\n");
    write_whole(desk / "data.db", "short");  // truncates
    CHECK(read_whole(desk / "data.db") == "short");
  });
}

TEST_CASE("a file cut short and grown again holds zeros where it was cut") {
  FOR_EACH_VOLUME({
    auto content = some_content(100'000);
    link.add_file("a", content);
    Desk desk(volume, link, snapshots);
    REQUIRE(::truncate((desk / "a").c_str(), 50'001) == 0);
    REQUIRE(::truncate((desk / "a").c_str(), 90'000) == 0);
    CHECK(read_whole(desk / "a") == content.substr(0, 50'001) + std::string(39'999, '\0'));
    CHECK(link.read_bytes <= 50'001 + 2 * 4096);
  });
}

TEST_CASE("names move, swap and go, loaded or not") {
  FOR_EACH_VOLUME({
    for (int i = 0; i < 20; ++i) link.add_file("Folder/sub/f" + std::to_string(i), some_content(50, i));
    link.add_file("one", "1");
    link.add_file("two", "2");
    link.add_file("gone", "x");
    Desk desk(volume, link, snapshots);
    REQUIRE(::rename((desk / "Folder").c_str(), (desk / "Moved").c_str()) == 0);
    CHECK(names_in(desk / "Moved/sub").size() == 20);  // looked into only after the move
    CHECK(read_whole(desk / "Moved/sub/f3") == some_content(50, 3));
    REQUIRE(::renameat2(AT_FDCWD, (desk / "one").c_str(), AT_FDCWD, (desk / "two").c_str(),
                        RENAME_EXCHANGE) == 0);
    CHECK(read_whole(desk / "one") == "2");
    CHECK(read_whole(desk / "two") == "1");
    CHECK(::renameat2(AT_FDCWD, (desk / "one").c_str(), AT_FDCWD, (desk / "two").c_str(), RENAME_NOREPLACE) !=
          0);
    CHECK(errno == EEXIST);
    REQUIRE(::rename((desk / "one").c_str(), (desk / "two").c_str()) == 0);
    CHECK(read_whole(desk / "two") == "2");
    REQUIRE(::unlink((desk / "gone").c_str()) == 0);
    CHECK(::access((desk / "gone").c_str(), F_OK) != 0);
    CHECK(names_in(desk.home) == std::set<std::string>{"Moved", "two"});
  });
}

TEST_CASE("a directory that is not empty in the version is not removed, looked into or not") {
  FOR_EACH_VOLUME({
    link.add_file("Full/x", "x");
    link.add_directory("Empty");
    Desk desk(volume, link, snapshots);
    CHECK(::rmdir((desk / "Full").c_str()) != 0);
    CHECK(errno == ENOTEMPTY);
    CHECK(::rmdir((desk / "Empty").c_str()) == 0);
    REQUIRE(::mkdir((desk / "New").c_str(), 0755) == 0);
    CHECK(::rename((desk / "New").c_str(), (desk / "Full").c_str()) != 0);
    CHECK((errno == ENOTEMPTY || errno == EEXIST));
    CHECK(read_whole(desk / "Full/x") == "x");
  });
}

TEST_CASE("a file removed while open goes on until it is closed, outside the profile") {
  FOR_EACH_VOLUME({
    auto content = some_content(300'000);
    link.add_file("open.bin", content);
    link.add_file("other", "other");
    Desk desk(volume, link, snapshots);
    int file = ::open((desk / "open.bin").c_str(), O_RDWR);
    REQUIRE(file >= 0);
    REQUIRE(::unlink((desk / "open.bin").c_str()) == 0);
    CHECK(names_in(desk.home) == std::set<std::string>{"other"});
    CHECK(names_in(volume.path() + "/Users/alice") == std::set<std::string>{"other"});
    std::string text(content.size(), '\0');
    REQUIRE(::pread(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    CHECK(text == content);
    ::close(file);
    file = ::open((desk / "other").c_str(), O_RDONLY);
    write_whole(desk / "new", "new");
    REQUIRE(::rename((desk / "new").c_str(), (desk / "other").c_str()) == 0);
    CHECK(names_in(volume.path() + "/Users/alice") == std::set<std::string>{"other"});
    char buffer[6] = {};
    CHECK(::pread(file, buffer, 5, 0) == 5);
    CHECK(std::string(buffer) == "other");
    ::close(file);
    CHECK(read_whole(desk / "other") == "new");
    for (int i = 0; i < 100 && !names_in(volume.path() + "/ProgramData/Roamstead/staging").empty(); ++i)
      ::usleep(20'000);
    CHECK(names_in(volume.path() + "/ProgramData/Roamstead/staging").empty());
  });
}

TEST_CASE("while the coordinator is away nothing is reported as missing") {
  FOR_EACH_VOLUME({
    link.add_file("known", some_content(10'000));
    link.add_file("Folder/inside", "x");
    Desk desk(volume, link, snapshots, std::chrono::milliseconds(100));
    CHECK(names_in(desk.home).size() == 2);
    link.away = true;
    CHECK(::access((desk / "Folder/inside").c_str(), F_OK) != 0);
    CHECK(errno == EIO);
    CHECK(::opendir((desk / "Folder").c_str()) == nullptr);
    CHECK(errno == EIO);
    int file = ::open((desk / "known").c_str(), O_RDONLY);
    REQUIRE(file >= 0);
    char byte = 0;
    CHECK(::pread(file, &byte, 1, 0) < 0);
    CHECK(errno == EIO);
    link.away = false;
    CHECK(::pread(file, &byte, 1, 0) == 1);
    ::close(file);
    CHECK(read_whole(desk / "Folder/inside") == "x");
  });
}

TEST_CASE("a coordinator that comes back in time is only a pause") {
  FOR_EACH_VOLUME({
    link.add_file("f", "content");
    Desk desk(volume, link, snapshots, std::chrono::milliseconds(5000));
    link.away = true;
    std::thread back([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      link.away = false;
    });
    CHECK(read_whole(desk / "f") == "content");
    back.join();
  });
}

TEST_CASE("alternate streams are loaded, written, made and removed by their names") {
  if (!can_mount() || !have_ntfs()) {
    std::cout << "skipped: needs root, /dev/fuse and ntfs-3g\n";
    return;
  }
  TestVolume volume(true);
  MemoryLink link;
  ScriptedSnapshots snapshots;
  auto large = some_content(200'000, 9);
  link.add_file("doc.txt", "main", {{"Zone.Identifier", "[ZoneTransfer]\r\nZoneId=3\r\n"}, {"large", large}});
  Desk desk(volume, link, snapshots);
  CHECK(read_whole(desk / "doc.txt") == "main");
  CHECK(read_whole(desk / "doc.txt:Zone.Identifier") == "[ZoneTransfer]\r\nZoneId=3\r\n");
  CHECK(read_whole(desk / "doc.txt:large") == large);
  write_whole(desk / "doc.txt:new", "made here");
  CHECK(read_whole(desk / "doc.txt:new") == "made here");
  CHECK(::unlink((desk / "doc.txt:large").c_str()) == 0);
  CHECK(::access((desk / "doc.txt:large").c_str(), F_OK) != 0);
  write_whole(desk / "doc.txt:large", "short");
  CHECK(read_whole(desk / "doc.txt:large") == "short");
  CHECK(names_in(desk.home) == std::set<std::string>{"doc.txt"});
  char list[100];
  CHECK(::getxattr((desk / "doc.txt").c_str(), "ntfs.streams.list", list, sizeof list) > 0);
  std::byte attributes[4];
  CHECK(::getxattr((desk / "doc.txt").c_str(), "system.ntfs_attrib", attributes, 4) == 4);
}

TEST_CASE("junctions and symbolic links lead to their targets in the mount") {
  FOR_EACH_VOLUME({
    link.add_file("Documents/Music/song", "la la");
    link.add_link("Documents/My Music", profile::EntryKind::junction, "Documents/Music");
    link.add_link("song link", profile::EntryKind::symlink, "Documents/Music/song");
    Desk desk(volume, link, snapshots);
    CHECK(read_whole(desk / "Documents/My Music/song") == "la la");
    CHECK(read_whole(desk / "song link") == "la la");
    struct stat status {};
    CHECK(::lstat((desk / "Documents/My Music").c_str(), &status) == 0);
    CHECK(S_ISLNK(status.st_mode));
    desk.session->fill().start(FillLevel::all);
    CHECK(desk.session->fill().wait(std::chrono::seconds(20)));
    CHECK(::unlink((desk / "Documents/My Music").c_str()) == 0);
    CHECK(names_in(desk / "Documents") == std::set<std::string>{"Music"});
  });
}

TEST_CASE("times that a program sets survive loading") {
  FOR_EACH_VOLUME({
    link.add_file("f", some_content(100'000));
    Desk desk(volume, link, snapshots);
    timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 500}};
    REQUIRE(::utimensat(AT_FDCWD, (desk / "f").c_str(), times, 0) == 0);
    CHECK(read_whole(desk / "f").size() == 100'000);
    struct stat status {};
    REQUIRE(::stat((desk / "f").c_str(), &status) == 0);
    CHECK(status.st_mtim.tv_sec == 1'000'000'000);
    CHECK(status.st_mtim.tv_nsec == 500);
  });
}

TEST_CASE("filling in background loads everything, and leaves times alone") {
  FOR_EACH_VOLUME({
    for (int i = 0; i < 30; ++i)
      link.add_file("d" + std::to_string(i % 3) + "/f" + std::to_string(i), some_content(5000 + i));
    Desk desk(volume, link, snapshots);
    desk.session->fill().start(FillLevel::metadata);
    CHECK(desk.session->fill().wait(std::chrono::seconds(20)));
    CHECK(link.reads == 0);
    desk.session->fill().start(FillLevel::all);
    REQUIRE(desk.session->fill().wait(std::chrono::seconds(20)));
    link.away = true;
    for (int i = 0; i < 30; ++i)
      CHECK(read_whole(desk / ("d" + std::to_string(i % 3) + "/f" + std::to_string(i))) ==
            some_content(5000 + i));
    struct stat status {};
    CHECK(::stat((desk / "d1").c_str(), &status) == 0);
    CHECK(status.st_mtim.tv_sec < 1'600'000'000);
    link.away = false;
  });
}

TEST_CASE("a mount in use is not unmounted, and log-out goes on once it is not") {
  FOR_EACH_VOLUME({
    link.add_file("f", "x");
    Desk desk(volume, link, snapshots);
    int file = ::open((desk / "f").c_str(), O_RDONLY);
    auto refused = desk.mount->unmount();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::busy);
    ::close(file);
    CHECK(desk.mount->unmount());
    auto report = desk.session->logout(std::chrono::seconds(5));
    REQUIRE(report);
    CHECK(report->records == 0);
    CHECK(link.commits().empty());
    CHECK_FALSE(link.is_open());
  });
}

TEST_CASE("a desktop killed in mid-session resumes with everything its programs did") {
  FOR_EACH_VOLUME({
    auto content = some_content(400'000);
    link.add_file("data.bin", content);
    link.add_file("Folder/late", "late");
    for (int round = 0; round < 2; ++round) {
      Desk desk(volume, link, snapshots);
      CHECK(desk.session->status()->resumed == (round == 1));
      if (round == 0) {
        int file = ::open((desk / "data.bin").c_str(), O_RDWR);
        REQUIRE(::pwrite(file, "CHANGED", 7, 5000) == 7);
        ::close(file);
        write_whole(desk / "new", "new file");
        // As a kill leaves things: no log-out, and the tags of the last second not recorded.
        CHECK(::umount2(desk.home.c_str(), MNT_DETACH) == 0);
        continue;
      }
      auto expected = content;
      expected.replace(5000, 7, "CHANGED");
      CHECK(read_whole(desk / "data.bin") == expected);
      CHECK(read_whole(desk / "new") == "new file");
      CHECK(read_whole(desk / "Folder/late") == "late");
      CHECK(desk.mount->unmount());
      CHECK(desk.session->logout(std::chrono::seconds(5)));
    }
  });
}

}  // namespace
}  // namespace roamstead::agent
