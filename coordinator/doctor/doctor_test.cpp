#include <doctest/doctest.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>

#include "common/os/file.h"
#include "coordinator/doctor/bundle.h"
#include "coordinator/doctor/host_checks.h"
#include "coordinator/doctor/redaction.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::doctor {
namespace {

TEST_CASE("names become the same words everywhere, and what looks like a secret is gone") {
  Redaction redaction(false);
  redaction.add_name("desktop", "desk-a");
  redaction.add_name("desktop", "desk-ab");
  redaction.add_name("profile", "alice");
  const std::string secret = "q7Jx9mVt2LpR4sKw8ZbN3cYf6HdG1uEa";
  const auto text =
      redaction.apply("desk-a desk-ab 'alice' alices malice desk-a\n" + secret +
                      "\n-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\nafter "
                      "0123456789abcdef0123456789abcdef no-such-long-word-without-any-number");
  CHECK(text.find("desk-a") == std::string::npos);
  CHECK(text.find("'alice'") == std::string::npos);
  CHECK(text.find("alices malice") != std::string::npos);
  CHECK(text.find(secret) == std::string::npos);
  CHECK(text.find("MIGH") == std::string::npos);
  CHECK(text.find("0123456789abcdef") == std::string::npos);
  CHECK(text.find("after") != std::string::npos);
  CHECK(text.find("no-such-long-word-without-any-number") != std::string::npos);
  const auto first = text.substr(0, text.find(' '));
  CHECK(first.rfind("desktop-", 0) == 0);
  CHECK(text.find(first, 1) != std::string::npos);
  Redaction other(false);
  other.add_name("desktop", "desk-a");
  CHECK(other.apply("desk-a") != first);  // two bundles cannot be compared by their words
  Redaction open(true);
  open.add_name("profile", "alice");
  CHECK(open.apply("alice " + secret) == "alice [removed]");
}

TEST_CASE("a bundle is an archive that tar reads, and its owner's alone") {
  support::TemporaryDirectory folder;
  const auto path = folder / "bundle.tar.zst";
  const std::string large(100'000, 'x');
  REQUIRE(write_bundle(path, {{"top/a.txt", "hello\n"}, {"top/large", large}, {"top/empty", ""}}));
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(write_bundle(path, {}).error().code == ErrorCode::exists);
  auto packed = os::read_file(os::real_file_system(), path, 1u << 20).value();
  Bytes plain(ZSTD_getFrameContentSize(packed.data(), packed.size()));
  REQUIRE(ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size()) == plain.size());
  REQUIRE(os::write_file_durably(os::real_file_system(), folder / "plain.tar", plain));
  REQUIRE(std::system(("tar -C " + folder.path() + " -xf " + (folder / "plain.tar")).c_str()) == 0);
  CHECK(as_text(os::read_file(os::real_file_system(), folder / "top/a.txt", 100).value()) == "hello\n");
  CHECK(os::read_file(os::real_file_system(), folder / "top/large", 1u << 20)->size() == large.size());
  CHECK(os::real_file_system().exists(folder / "top/empty").value());
}

TEST_CASE("storage, repository, locks and secrets are seen as they are, and nothing is left behind") {
  support::TemporaryDirectory folder;
  for (const auto& finding : check_storage("place", folder.path()))
    CHECK_MESSAGE((finding.check != "place flush" || finding.health != Health::fail), finding.text);
  CHECK(os::real_file_system().list_directory(folder.path())->empty());
  CHECK(worst(check_storage("place", folder / "missing")) == Health::fail);
  CHECK(check_repository(folder.path()).health == Health::fail);
  REQUIRE(os::real_file_system().make_directories(folder / "packs"));
  CHECK(check_repository(folder.path()).health == Health::ok);
  const auto lock = folder / "lock";
  const int file = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  REQUIRE(file >= 0);
  CHECK(lock_holder(lock) == 0);
  REQUIRE(::flock(file, LOCK_EX) == 0);
  CHECK(lock_holder(lock) == ::getpid());
  CHECK(check_private(lock).health == Health::fail);
  REQUIRE(::chmod(lock.c_str(), 0600) == 0);
  CHECK(check_private(lock).health == Health::ok);
  ::close(file);
}

TEST_CASE("a clock that went back is seen by what the state was written at") {
  support::TemporaryDirectory folder;
  const auto path = folder / "state.db";
  std::ofstream(path) << "x";
  timespec times[2] = {{::time(nullptr) + 3600, 0}, {::time(nullptr) + 3600, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  CHECK(check_clock(folder.path()).health == Health::fail);
}

TEST_CASE("a damaged state database is told from a whole one") {
  support::TemporaryDirectory folder;
  const auto path = folder / "state.db";
  CHECK(check_state_database(folder.path(), false).health == Health::ok);  // none yet
  {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    REQUIRE(sqlite3_exec(
                database,
                "CREATE TABLE t(a, b); CREATE INDEX i ON t(b); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
                "SELECT x + 1 FROM n WHERE x < 2000) INSERT INTO t SELECT x, hex(randomblob(20)) FROM n",
                nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(database);
  }
  CHECK(check_state_database(folder.path(), false).text == "whole");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(3 * 4096);
  file << std::string(4096, '\x7f');
  file.close();
  auto finding = check_state_database(folder.path(), false);
  CHECK(finding.health == Health::fail);
  CHECK(finding.event == Event::doctor_state);
  REQUIRE(::truncate(path.c_str(), 100) == 0);
  CHECK(check_state_database(folder.path(), false).health == Health::fail);
}

TEST_CASE("what a process may have open is compared with what it needs") {
  CHECK(check_limits(::getpid(), 1).health == Health::ok);
  CHECK(check_limits(::getpid(), ~std::uint64_t{0} - 1000).health == Health::warn);
  CHECK(check_program(::getpid()).health == Health::ok);
}

}  // namespace
}  // namespace roamstead::doctor
