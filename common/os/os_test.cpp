#include <doctest/doctest.h>

#include "common/os/file.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using os::OpenMode;

static void check_file_contract(os::FileSystem& files, const std::string& directory) {
  auto path = directory + "/a";
  CHECK(files.open(path, OpenMode::read).error().code == ErrorCode::not_found);
  auto file = files.open(path, OpenMode::create_new);
  REQUIRE(file);
  CHECK(files.open(path, OpenMode::create_new).error().code == ErrorCode::exists);
  REQUIRE((*file)->write_at(3, as_bytes("xyz")));
  Bytes buffer(10);
  CHECK((*file)->read_at(1, buffer).value() == 5);
  CHECK(as_text(ByteView(buffer).subspan(2, 3)) == "xyz");
  auto short_read = (*file)->read_exactly(1, buffer);
  REQUIRE_FALSE(short_read);
  CHECK(short_read.error().message.find(path) != std::string::npos);
  REQUIRE((*file)->lock(true));
  auto other = files.open(path, OpenMode::read_write);
  REQUIRE(other);
  CHECK((*other)->lock(false).error().code == ErrorCode::busy);
  REQUIRE(files.link(path, directory + "/linked"));
  CHECK(files.link(path, directory + "/linked").error().code == ErrorCode::exists);
  CHECK(files.same_file(path, directory + "/linked").value());
  REQUIRE(files.remove(directory + "/linked"));
  REQUIRE(files.open(directory + "/linked", OpenMode::create_new));
  CHECK_FALSE(files.same_file(path, directory + "/linked").value());
  REQUIRE(files.remove(directory + "/linked"));
  REQUIRE(files.rename(path, directory + "/b"));
  CHECK(files.list_directory(directory).value() == std::vector<std::string>{"b"});
  REQUIRE(os::write_file_durably(files, directory + "/b", as_bytes("new")));
  CHECK(as_text(os::read_file(files, directory + "/b", 100).value()) == "new");
  CHECK_FALSE(os::read_file(files, directory + "/b", 2));
}

TEST_CASE("the real file system keeps the contract") {
  support::TemporaryDirectory directory;
  check_file_contract(os::real_file_system(), directory.path());
}

TEST_CASE("the crash file system keeps the contract") {
  support::CrashFileSystem files;
  check_file_contract(files, "d");
}

TEST_CASE("a durable write is the old or the new content whatever the crash point") {
  for (std::uint64_t point = 0;; ++point) {
    support::CrashFileSystem files;
    REQUIRE(os::write_file_durably(files, "d/f", as_bytes("old")));
    files.crash_after(files.operations() + point);
    bool finished = os::write_file_durably(files, "d/f", as_bytes("new content")).has_value();
    files.power_loss(point * 31 + 7);
    auto content = os::read_file(files, "d/f", 100);
    REQUIRE(content);
    auto text = std::string(as_text(*content));
    if (finished)
      CHECK(text == "new content");
    else
      CHECK((text == "old" || text == "new content"));
    if (finished) break;
  }
}
