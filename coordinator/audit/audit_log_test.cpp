#include "coordinator/audit/audit_log.h"

#include <doctest/doctest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "coordinator/audit/audit_file.h"
#include "coordinator/audit/audit_reader.h"
#include "coordinator/audit/testing_head.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

namespace roamstead::audit {
namespace {

using nlohmann::json;
using support::CrashFileSystem;

constexpr const char* kDirectory = "/audit";

Record act(const std::string& about) { return {"desktop.revoke", "root", about, Outcome::done, "", {}}; }
Record refusal(const std::string& who) {
  return {"session.open", who, "profile alice", Outcome::refused, "not assigned", {}};
}

std::vector<json> records_in(os::FileSystem& files) {
  std::vector<json> records;
  auto texts = read(files, kDirectory, {"", "", 100'000}).value();
  for (const auto& text : texts) records.push_back(json::parse(text));
  return records;
}

std::size_t count(const std::vector<json>& records, const std::string& what) {
  return static_cast<std::size_t>(
      std::count_if(records.begin(), records.end(), [&](const json& each) { return each["what"] == what; }));
}

TEST_CASE("what is appended is there in order, chained, and goes on after a restart and across files") {
  CrashFileSystem files;
  MemoryHead heads;
  Options options;
  options.rotate_bytes = 1000;
  for (int start = 0; start < 3; ++start) {
    auto log = AuditLog::open(files, kDirectory, heads, options).value();
    for (int i = 0; i < 10; ++i) REQUIRE(log->append_durably(act("desktop d" + std::to_string(i))));
    CHECK(log->head().sequence == heads.head->sequence);
  }
  auto verified = verify(files, kDirectory, heads.head, false).value();
  CHECK_MESSAGE(!verified.first_break, verified.first_break->reason);
  CHECK(verified.files > 3);
  CHECK(verified.last.sequence == heads.head->sequence);
  CHECK(verified.last.hash == heads.head->hash);
  auto records = records_in(files);
  CHECK(count(records, "desktop.revoke") == 30);
  for (std::size_t i = 0; i < records.size(); ++i) CHECK(records[i]["seq"] == i + 1);
}

TEST_CASE("texts that are no text, or would be lines of their own, stay inside their record") {
  CrashFileSystem files;
  MemoryHead heads;
  auto log = AuditLog::open(files, kDirectory, heads).value();
  auto record = act("desktop \xff\xfe\n" + std::string(64, 'a') + " {\"seq\": 9}\n");
  record.fields = {{"long", std::string(100'000, '\x01')}};
  for (int i = 0; i < 100; ++i) record.fields.emplace_back("f" + std::to_string(i), std::string(5000, '"'));
  REQUIRE(log->append_durably(record));
  auto verified = verify(files, kDirectory, heads.head, false).value();
  CHECK(!verified.first_break);
  CHECK(verified.records == 2);
  auto records = records_in(files);
  REQUIRE(records.size() == 2);
  CHECK(records[1]["fields"].size() <= kMaxFields);
  CHECK(records[1]["fields"]["long"].get<std::string>().size() <= kMaxTextBytes);
}

TEST_CASE("many threads append at once, and few syncs are needed") {
  CrashFileSystem files;
  MemoryHead heads;
  auto log = AuditLog::open(files, kDirectory, heads).value();
  auto before = heads.saves.load();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i)
        log->append(
            {"session.open", "desktop d" + std::to_string(t) + "-" + std::to_string(i), "", {}, "", {}});
    });
  for (auto& thread : threads) thread.join();
  REQUIRE(log->flush());
  CHECK(count(records_in(files), "session.open") == 1600);
  CHECK(heads.saves - before < 200);
}

TEST_CASE("a flood of refusals is summarised, and does not hide what others do") {
  CrashFileSystem files;
  MemoryHead heads;
  Options options;
  std::atomic<long> seconds{0};
  auto base = std::chrono::steady_clock::now();
  options.now = [&] { return base + std::chrono::seconds(seconds.load()); };
  options.max_refusals = 100;
  auto log = AuditLog::open(files, kDirectory, heads, options).value();
  for (int i = 0; i < 100'000; ++i) {
    log->append(refusal("desktop bad"));
    if (i == 50'000) log->append(refusal("desktop other"));
  }
  for (int i = 0; i < 10'000; ++i) log->append(refusal("address 192.0.2." + std::to_string(i)));
  log->append({"session.open", "desktop good", "profile bob", Outcome::done, "", {}});
  REQUIRE(log->append_durably(act("desktop x")));
  auto records = records_in(files);
  CHECK(records.size() <= 110);
  CHECK(count(records, "desktop.revoke") == 1);
  auto of = [&](const std::string& who) {
    return std::count_if(records.begin(), records.end(),
                         [&](const json& each) { return each["who"] == who; });
  };
  CHECK(of("desktop bad") == 5);
  CHECK(of("desktop other") == 1);
  CHECK(of("desktop good") == 1);
  seconds = 61;
  log.reset();  // writes the summaries
  records = records_in(files);
  std::uint64_t told = 0;
  for (const auto& record : records)
    if (record["who"] == "desktop bad" && record["fields"].contains("repeated"))
      told += std::stoull(record["fields"]["repeated"].get<std::string>());
  CHECK(told == 100'000 - 5);
  CHECK(count(records, "audit.unrecorded") == 1);
  CHECK(records.size() < 250);
}

TEST_CASE("a disk that fails is said to who waits, and the log goes on when it works again") {
  CrashFileSystem files;
  MemoryHead heads;
  auto log = AuditLog::open(files, kDirectory, heads).value();
  REQUIRE(log->append_durably(act("desktop before")));
  files.crash_after(files.operations());
  CHECK(!log->append_durably(act("desktop during")));
  log->append(refusal("desktop during"));
  files.crash_after(~std::uint64_t{0});
  REQUIRE(log->append_durably(act("desktop after")));
  auto records = records_in(files);
  CHECK(records.back()["about"] == "desktop after");
  CHECK(count(records, "session.open") == 1);
  auto verified = verify(files, kDirectory, heads.head, false).value();
  CHECK(!verified.first_break);
}

// What is known to be durable is there after a power loss at any moment, in a chain that verifies.
TEST_CASE("power lost at every operation, several times over, costs nothing that was durable") {
  auto run = [](CrashFileSystem& files, MemoryHead& heads, int starts, std::vector<std::string>& durable) {
    Options options;
    options.rotate_bytes = 600;
    options.latency = std::chrono::milliseconds(0);
    for (int start = 0; start < starts; ++start) {
      auto log = AuditLog::open(files, kDirectory, heads, options);
      if (!log) return;
      for (int i = 0; i < 5; ++i) {
        auto about = "desktop " + std::to_string(durable.size());
        if (!(*log)->append_durably(act(about))) return;
        durable.push_back(about);
      }
    }
  };
  CrashFileSystem whole;
  MemoryHead whole_heads;
  std::vector<std::string> all;
  run(whole, whole_heads, 2, all);
  REQUIRE(all.size() == 10);
  auto random = support::seeded_random();
  std::size_t torn = 0;
  for (std::uint64_t at = 0; at <= whole.operations(); ++at) {
    CAPTURE(at);
    CrashFileSystem files;
    MemoryHead heads;
    std::vector<std::string> durable;
    files.crash_after(at);
    run(files, heads, 2, durable);
    files.power_loss(random());
    // A second crash while the first one's remains are dealt with.
    files.crash_after(files.operations() + at % 7);
    run(files, heads, 1, durable);
    files.power_loss(random());
    run(files, heads, 1, durable);
    auto verified = verify(files, kDirectory, heads.head, false).value();
    REQUIRE_MESSAGE(!verified.first_break, verified.first_break->file << " line "
                                                                      << verified.first_break->line << ": "
                                                                      << verified.first_break->reason);
    torn += verified.notes.size();
    auto records = records_in(files);
    for (const auto& about : durable)
      CHECK(std::any_of(records.begin(), records.end(),
                        [&](const json& each) { return each["about"] == about; }));
  }
  CHECK(torn > 0);
}

}  // namespace
}  // namespace roamstead::audit
