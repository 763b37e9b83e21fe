#include "common/ntfs3g/library_file_system.h"

#include <doctest/doctest.h>

#include "common/ntfs3g/format.h"
#include "tests/support/memory_device.h"

namespace roamstead::ntfs3g {
namespace {

struct TestFiles {
  TestFiles() {
    REQUIRE(format_ntfs(device, "files").has_value());
    volume = std::move(*LibraryVolume::mount(device, Access::write));
    files = std::make_unique<LibraryFileSystem>(*volume);
  }
  support::MemoryDevice device{Bytes(24u << 20)};
  std::unique_ptr<LibraryVolume> volume;
  std::unique_ptr<LibraryFileSystem> files;
};

TEST_CASE("files on a volume are made, replaced durably and read like any others") {
  TestFiles test;
  auto& files = *test.files;
  REQUIRE(files.make_directories("ProgramData/Roamstead").has_value());
  const std::string path = "ProgramData/Roamstead/journal";
  REQUIRE(os::write_file_durably(files, path, as_bytes("one")).has_value());
  REQUIRE(os::write_file_durably(files, path, as_bytes("two, longer")).has_value());
  CHECK(*os::read_file(files, path, 100) == to_bytes("two, longer"));
  CHECK(*files.list_directory("ProgramData/Roamstead") == std::vector<std::string>{"journal"});
  CHECK(*files.exists(path));
  CHECK_FALSE(*files.exists("nowhere/at all"));
  CHECK(files.open(path, os::OpenMode::create_new).error().code == ErrorCode::exists);
  CHECK(files.open("other", os::OpenMode::read_write).error().code == ErrorCode::not_found);
  auto reader = files.open(path, os::OpenMode::read);
  CHECK((*reader)->write_at(0, as_bytes("x")).error().code == ErrorCode::denied);
  REQUIRE(files.link(path, "second").has_value());
  CHECK(*files.same_file(path, "second"));
  REQUIRE(files.remove("second").has_value());
  CHECK(files.remove("second").error().code == ErrorCode::not_found);
}

TEST_CASE("an open file follows its file through a rename") {
  TestFiles test;
  auto file = std::move(*test.files->open("a", os::OpenMode::create));
  REQUIRE(test.files->rename("a", "b").has_value());
  REQUIRE(file->write_at(3, as_bytes("xyz")).has_value());
  CHECK(*os::read_file(*test.files, "b", 100) == to_bytes(std::string_view("\0\0\0xyz", 6)));
}

TEST_CASE("locks exclude other open files of the same file until they go") {
  TestFiles test;
  auto& files = *test.files;
  auto first = std::move(*files.open("a", os::OpenMode::create));
  auto second = std::move(*files.open("a", os::OpenMode::read));
  REQUIRE(first->lock(false).has_value());
  REQUIRE(second->lock(false).has_value());
  CHECK(second->lock(true).error().code == ErrorCode::busy);
  second.reset();
  REQUIRE(first->lock(true).has_value());
  second = std::move(*files.open("a", os::OpenMode::read));
  CHECK(second->lock(false).error().code == ErrorCode::busy);
  first.reset();
  CHECK(second->lock(false).has_value());
}

}  // namespace
}  // namespace roamstead::ntfs3g
