#include "coordinator/audit/audit_reader.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "coordinator/audit/audit_file.h"
#include "coordinator/audit/testing_head.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

namespace roamstead::audit {
namespace {

using support::CrashFileSystem;

constexpr const char* kDirectory = "/audit";

// Three files of some records each, every one of which was durable.
struct Written {
  CrashFileSystem files;
  MemoryHead heads;
  std::vector<std::string> paths;

  Written() {
    Options options;
    options.rotate_bytes = 900;
    auto log = AuditLog::open(files, kDirectory, heads, options).value();
    for (int i = 0; i < 12; ++i)
      REQUIRE(log->append_durably({"assignment.add", "root", "desktop d" + std::to_string(i), {}, "", {}}));
    auto numbers = list_files(files, kDirectory).value();
    for (auto number : numbers) paths.push_back(os::join_path(kDirectory, file_name(number)));
    REQUIRE(paths.size() >= 3);
  }
  std::string text(const std::string& path) {
    return std::string(as_text(os::read_file(files, path, kMaxFileBytes).value()));
  }
  void replace(const std::string& path, const std::string& text) {
    REQUIRE(os::write_file_durably(files, path, as_bytes(text)));
  }
  std::optional<Break> first_break() {
    return verify(files, kDirectory, heads.head, false).value().first_break;
  }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at + 1));
    at = end + 1;
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line;
  return text;
}

TEST_CASE("an untouched log verifies; any byte changed in it is found, with its file and line") {
  Written log;
  REQUIRE(!log.first_break());
  auto random = support::seeded_random();
  for (const auto& path : log.paths) {
    auto good = log.text(path);
    for (int i = 0; i < 60; ++i) {
      auto at = random() % good.size();
      auto bad = good;
      bad[at] = static_cast<char>(bad[at] ^ static_cast<char>(1 + random() % 127));
      log.replace(path, bad);
      auto found = log.first_break();
      CAPTURE(at);
      REQUIRE(found);
      CHECK(found->file == os::base_name(path));
      CHECK(found->line == 1 + static_cast<std::uint64_t>(
                                   std::count(good.begin(), good.begin() + static_cast<long>(at), '\n')));
    }
    log.replace(path, good);
  }
  CHECK(!log.first_break());
}

TEST_CASE("lines removed, doubled, swapped or put in are found") {
  Written log;
  auto path = log.paths[1];
  auto good = lines_of(log.text(path));
  REQUIRE(good.size() >= 3);
  auto expect = [&](std::vector<std::string> lines, std::uint64_t line) {
    log.replace(path, joined(lines));
    auto found = log.first_break();
    REQUIRE(found);
    CHECK(found->file == os::base_name(path));
    CHECK(found->line == line);
  };
  auto lines = good;
  lines.erase(lines.begin() + 1);
  expect(lines, 2);
  lines = good;
  lines.insert(lines.begin() + 1, lines[1]);
  expect(lines, 3);
  lines = good;
  std::swap(lines[1], lines[2]);
  expect(lines, 2);
  lines = good;
  lines.insert(lines.begin() + 2, std::string(64, '0') + " {\"seq\":7}\n");
  expect(lines, 3);
  lines.clear();
  expect(lines, 0);
}

TEST_CASE("records cut off at the end are missed, and so are whole files") {
  Written log;
  auto last = log.paths.back();
  auto good = log.text(last);
  auto lines = lines_of(good);
  lines.pop_back();
  log.replace(last, joined(lines));
  auto found = log.first_break();
  REQUIRE(found);
  CHECK(found->reason.find("cut off") != std::string::npos);
  // Without the head nobody can know; that is said.
  auto blind = verify(log.files, kDirectory, std::nullopt, false).value();
  CHECK(!blind.first_break);
  CHECK(blind.notes.size() == 1);
  // Nor does it help to let the coordinator go on from there.
  {
    auto again = AuditLog::open(log.files, kDirectory, log.heads).value();
    REQUIRE(again->append_durably({"x", "root", "", {}, "", {}}));
  }
  found = log.first_break();
  REQUIRE(found);
  CHECK(found->line == 1);
  CHECK(found->reason.find("was durable before it") != std::string::npos);

  Written other;
  REQUIRE(other.files.remove(other.paths.back()));
  CHECK(other.first_break());
  REQUIRE(other.files.remove(other.paths[1]));
  CHECK(other.first_break());

  Written archived;
  REQUIRE(archived.files.remove(archived.paths.front()));
  REQUIRE(archived.first_break());
  CHECK(archived.first_break()->file == "audit-00000001.log");
  CHECK(!verify(archived.files, kDirectory, archived.heads.head, true).value().first_break);
}

TEST_CASE("a chain made anew from the beginning does not end in the head that was noted") {
  Written log;
  for (const auto& path : log.paths) REQUIRE(log.files.remove(path));
  MemoryHead own;
  {
    Options options;
    auto fake = AuditLog::open(log.files, kDirectory, own, options).value();
    for (int i = 0; i < 40; ++i) REQUIRE(fake->append_durably({"nothing", "nobody", "", {}, "", {}}));
  }
  auto found = log.first_break();
  REQUIRE(found);
  CHECK(found->reason.find("noted as the last") != std::string::npos);
}

TEST_CASE("a torn tail is kept, noted by the next file, and found when it is changed after that") {
  Written log;
  auto last = log.paths.back();
  auto good = log.text(last);
  log.replace(last, good + std::string(70, '7'));
  auto verified = verify(log.files, kDirectory, log.heads.head, false).value();
  CHECK(!verified.first_break);
  REQUIRE(verified.notes.size() == 1);
  {
    auto again = AuditLog::open(log.files, kDirectory, log.heads).value();
    REQUIRE(again->append_durably({"x", "root", "", {}, "", {}}));
  }
  CHECK(log.text(last) == good + std::string(70, '7'));
  CHECK(!log.first_break());
  log.replace(last, good + std::string(70, '8'));
  auto found = log.first_break();
  REQUIRE(found);
  CHECK(found->file == os::base_name(last));
  CHECK(found->offset == good.size());
  log.replace(last, good);
  CHECK(!log.first_break());  // nothing of the chain was in it
}

TEST_CASE("garbage of any kind is a break or a note, never a crash") {
  auto random = support::seeded_random();
  for (int round = 0; round < 100; ++round) {
    CrashFileSystem files;
    REQUIRE(files.make_directories(kDirectory));
    for (int file = 1; file <= 3; ++file) {
      std::string text(random() % 500, 0);
      for (auto& c : text) c = "\n {}\"0123456789abcdef:seq,\xff"[random() % 27];
      REQUIRE(os::write_file_durably(
          files, os::join_path(kDirectory, file_name(static_cast<std::uint64_t>(file))), as_bytes(text)));
    }
    REQUIRE(verify(files, kDirectory, Head{1, {}}, false).value().first_break);
    REQUIRE(read(files, kDirectory, {}).has_value());
    MemoryHead heads;
    auto log = AuditLog::open(files, kDirectory, heads);
    REQUIRE(log.has_value());
    REQUIRE((*log)->append_durably({"x", "root", "", {}, "", {}}));
  }
}

TEST_CASE("the latest records are read, by time and by desktop") {
  Written log;
  CHECK(read(log.files, kDirectory, {"", "", 3}).value().size() == 3);
  CHECK(read(log.files, kDirectory, {"", "d5", 100}).value().size() == 1);
  CHECK(read(log.files, kDirectory, {"9999", "", 100}).value().empty());
  CHECK(read(log.files, kDirectory, {"2000-01-01", "", 100}).value().size() == 12 + log.paths.size());
}

}  // namespace
}  // namespace roamstead::audit
