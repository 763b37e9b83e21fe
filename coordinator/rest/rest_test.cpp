// The parts of the interface, each for itself: what is read from hostile peers, pages, times, kept answers,
// operations, and the table that all is made from.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/file_time.h"
#include "coordinator/rest/http_message.h"
#include "coordinator/rest/idempotency.h"
#include "coordinator/rest/operations.h"
#include "coordinator/rest/paging.h"
#include "coordinator/rest/problem.h"
#include "coordinator/rest/route.h"
#include "coordinator/server/command_table.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;
using support::must;

constexpr const char* kGoodHead =
    "POST /v1/desktops/desk%2da/prepare?limit=2&name=%C3%A4 HTTP/1.1\r\nHost: [::1]:7443\r\n"
    "Content-Type: application/json\r\nContent-Length: 12\r\nX-More:  a \r\nx-more: b\r\n";

int status_of(const std::string& head) {
  auto request = parse_head(head);
  if (!request) return request.error().status;
  auto length = body_length(*request);
  return length ? 200 : length.error().status;
}

TEST_CASE("a good request is read as it was meant") {
  auto request = parse_head(kGoodHead);
  REQUIRE(request);
  CHECK(request->method == "POST");
  CHECK(request->path == std::vector<std::string>{"v1", "desktops", "desk-a", "prepare"});
  CHECK(request->query == std::map<std::string, std::string>{{"limit", "2"}, {"name", "\xC3\xA4"}});
  CHECK(*request->header("x-more") == "a, b");
  CHECK(body_length(*request).value() == 12);
}

TEST_CASE("what could be read in two ways is refused") {
  const std::string host = "Host: x\r\n";
  struct Bad {
    std::string head;
    int status;
  };
  const Bad bad[] = {
      {"", 400},
      {"GET / HTTP/1.1\n" + host, 505},
      {"GET  / HTTP/1.1\r\n" + host, 400},
      {"GET / HTTP/1.1\r\n", 400},
      {"GET / HTTP/1.0\r\n" + host, 505},
      {"G(T / HTTP/1.1\r\n" + host, 400},
      {"GET /a b HTTP/1.1\r\n" + host, 400},
      {"GET /\xff HTTP/1.1\r\n" + host, 400},
      {"GET /a#b HTTP/1.1\r\n" + host, 400},
      {"GET * HTTP/1.1\r\n" + host, 400},
      {"GET //a HTTP/1.1\r\n" + host, 400},
      {"GET /a/ HTTP/1.1\r\n" + host, 400},
      {"GET /a/../b HTTP/1.1\r\n" + host, 400},
      {"GET /a/%2e%2E/b HTTP/1.1\r\n" + host, 400},
      {"GET /%2f HTTP/1.1\r\n" + host, 400},
      {"GET /%00 HTTP/1.1\r\n" + host, 400},
      {"GET /%c0%af HTTP/1.1\r\n" + host, 400},
      {"GET /a?%0d=1 HTTP/1.1\r\n" + host, 400},
      {"GET /a?b=1&b=2 HTTP/1.1\r\n" + host, 400},
      {"GET / HTTP/1.1\r\n" + host + host, 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length : 1\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 65537\r\n", 413},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551617\r\n", 413},
      {"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\nContent-Length: 1\r\n", 501},
      {"GET / HTTP/1.1\r\n" + host + " folded\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "a: b\rc: d\r\n", 400},
  };
  for (const auto& each : bad) {
    CAPTURE(each.head);
    CHECK(status_of(each.head) == each.status);
  }
}

TEST_CASE("heads that were damaged at random are refused, or mean one thing") {
  auto random = support::seeded_random();
  const std::string good = kGoodHead;
  const std::string spice =
      "\r\n%/ :?&=.\x00\x7f\xff"
      "2eF";
  for (int round = 0; round < 20'000; ++round) {
    auto head = good;
    for (auto changes = random() % 4 + 1; changes > 0; --changes) {
      const auto at = random() % head.size();
      const char c = random() % 2 == 0 ? static_cast<char>(random()) : spice[random() % spice.size()];
      if (random() % 3 == 0)
        head.erase(at, 1);
      else if (random() % 2 == 0)
        head.insert(at, 1, c);
      else
        head[at] = c;
    }
    auto request = parse_head(head);
    if (!request) {
      CHECK(std::string(reason_of(request.error().status)) != "Unknown");
      continue;
    }
    CHECK(request->header("host") != nullptr);
    std::string again;
    for (const auto& segment : request->path) {
      CHECK(!segment.empty());
      CHECK(segment != "..");
      CHECK(segment.find('/') == std::string::npos);
      again += "/" + percent_encode(segment);
    }
    auto reread = parse_head("GET " + (again.empty() ? "/" : again) + " HTTP/1.1\r\nHost: x\r\n");
    REQUIRE(reread);
    CHECK(reread->path == request->path);
  }
}

TEST_CASE("times go to text and back, and what is no time is none") {
  auto random = support::seeded_random();
  for (int round = 0; round < 2000; ++round) {
    const auto time =
        (kUnixEpoch_100ns + random() % (8'000ull * 366 * 86'400 * 10'000'000)) / 10'000 * 10'000;
    std::uint64_t again = 0;
    CHECK(parse_time(time_text(time), again));
    CHECK(again == time);
  }
  std::uint64_t time = 0;
  for (const char* bad :
       {"", "2026", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00.Z",
        "2026-01-01 00:00:00Z", "-026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-01-01T00:00:00Zx"}) {
    CAPTURE(bad);
    CHECK(!parse_time(bad, time));
  }
}

TEST_CASE("pages are whole and without repetition, whatever comes and goes between them") {
  auto random = support::seeded_random();
  for (int round = 0; round < 100; ++round) {
    std::set<std::uint64_t> now, all_along, ever;
    for (int i = 0; i < 60; ++i) now.insert(random() % 200);
    all_along = ever = now;
    std::vector<std::uint64_t> seen;
    PageRequest request{random() % 9 + 1, "", "numbers"};
    for (;;) {
      std::vector<json> items;
      for (auto number : now) items.push_back({{"number", number}, {"name", "n"}});
      std::shuffle(items.begin(), items.end(), random);
      auto page = must(page_of(items, {"name", "number"}, request));
      CHECK(page["items"].size() <= request.limit);
      for (const auto& item : page["items"]) seen.push_back(item["number"]);
      if (!page.contains("next_cursor")) break;
      request.cursor = page["next_cursor"];
      for (auto changes = random() % 4; changes > 0; --changes) {
        const auto number = random() % 200;
        if (now.erase(number) != 0) {
          all_along.erase(number);
        } else {
          now.insert(number);
          ever.insert(number);
        }
      }
    }
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    for (auto number : all_along) CHECK(std::binary_search(seen.begin(), seen.end(), number));
    for (auto number : seen) CHECK(ever.count(number) == 1);
  }
  for (const char* forged : {"zz", "00", "0011223344556677", "001122334455667788"})
    CHECK(!page_of({}, {"number"}, {1, forged, "numbers"}));
}

TEST_CASE("a kept answer comes again to who has the key, for a day, and tells nobody else anything") {
  support::TemporaryDirectory folder;
  const std::string key = "0123456789abcdef";
  const std::uint64_t now = now_100ns();
  HttpResponse answer;
  answer.status = 201;
  answer.body = "a secret that was made";
  answer.headers = {{"Location", "/v1/things/1"}};
  {
    auto store = must(server::StateStore::open(folder.path()));
    Idempotency kept(*store);
    auto begun = must(kept.begin("ada", key, "make", now));
    REQUIRE(begun.turn);
    CHECK(must(kept.begin("ada", key, "make", now)).answer->status == 409);  // under way
    CHECK(must(kept.begin("bob", key, "make", now)).turn != nullptr);        // another's key
    must(begun.turn->finish(answer));
  }
  auto store = must(server::StateStore::open(folder.path()));
  Idempotency kept(*store);
  auto again = must(kept.begin("ada", key, "make", now + 1));
  REQUIRE(again.answer);
  CHECK(again.answer->status == 201);
  CHECK(again.answer->body == answer.body);
  CHECK(again.answer->headers.front() == answer.headers.front());
  CHECK(must(kept.begin("ada", key, "make another", now)).answer->status == 422);
  CHECK(must(kept.begin("bob", key, "make", now)).answer->status == 409);  // begun before, its end unknown
  // What asks to try again is not kept.
  HttpResponse busy;
  busy.status = 503;
  {
    auto begun = must(kept.begin("ada", "another-key-of-16", "make", now));
    must(begun.turn->finish(busy));
  }
  CHECK(must(kept.begin("ada", "another-key-of-16", "make", now)).turn != nullptr);
  for (const char* name : {"/state.db", "/state.db-wal"}) {
    std::ifstream file(folder.path() + name, std::ios::binary);
    const std::string stored((std::istreambuf_iterator<char>(file)), {});
    CHECK(stored.find("a secret") == std::string::npos);
    CHECK(stored.find(key) == std::string::npos);
  }
  CHECK(must(kept.begin("ada", key, "make", now + Idempotency::kKept_100ns)).answer.has_value());
  CHECK(must(kept.begin("ada", key, "make", now + Idempotency::kKept_100ns + 1)).turn != nullptr);
}

TEST_CASE("operations are told of, bounded, and what a restart interrupts has failed") {
  support::TemporaryDirectory folder;
  std::string done_id, waiting_id, failed_id;
  auto wait_for_end = [](Operations& operations, const std::string& id) {
    Operations::Events events;
    std::vector<Operations::Event> all;
    while (!events.ended) {
      events = must(operations.events(id, all.empty() ? 0 : all.back().number, std::chrono::seconds(10)));
      for (auto& each : events.events) all.push_back(each);
    }
    return all;
  };
  {
    auto store = must(server::StateStore::open(folder.path()));
    constexpr std::size_t kMost = 20;
    auto operations = must(Operations::open(*store, kMost));
    int asked = 0;
    auto later = [&asked](const admin::ProgressSink& progress) -> std::optional<Result<json>> {
      for (std::uint64_t i = 0; i < 500; ++i) progress({"counting", i, 500});
      if (++asked < 3) return std::nullopt;
      return Result<json>(json{{"since_100ns", kUnixEpoch_100ns + 10'000'000}});
    };
    done_id = must(operations->begin("count", "numbers", "ada", later))["operation"];
    auto events = wait_for_end(*operations, done_id);
    CHECK(events.size() <= Operations::kMostEvents);
    for (std::size_t i = 1; i < events.size(); ++i) CHECK(events[i].number > events[i - 1].number);
    CHECK(events.back().name == "done");
    const auto state = json::parse(events.back().data);
    CHECK(state["result"] == json{{"since_time", "1970-01-01T00:00:01.000Z"}});
    CHECK(state["progress"]["done"] == 499);
    CHECK(asked == 3);

    auto broken = [](const admin::ProgressSink&) -> std::optional<Result<json>> {
      throw std::runtime_error("oh");
    };
    failed_id = must(operations->begin("break", "", "ada", broken))["operation"];
    CHECK(wait_for_end(*operations, failed_id).back().name == "failed");
    auto never = [](const admin::ProgressSink&) -> std::optional<Result<json>> { return std::nullopt; };
    waiting_id = must(operations->begin("wait", "", "ada", never))["operation"];
    std::size_t running = 1;
    while (operations->begin("wait", "", "ada", never)) ++running;
    CHECK(running == kMost);
    CHECK(!operations->events("unknown", 0, std::chrono::seconds(0)));
  }
  auto store = must(server::StateStore::open(folder.path()));
  auto operations = must(Operations::open(*store));
  CHECK(operations->find(done_id)->at("state") == "done");
  CHECK(operations->find(failed_id)->at("problem")["type"] == "urn:roamstead:problem:internal");
  CHECK(operations->find(waiting_id)->at("problem")["type"] == "urn:roamstead:problem:interrupted");
  CHECK(wait_for_end(*operations, waiting_id).back().name == "failed");
}

TEST_CASE("the table names each command once or says why not, and schemas that are there") {
  std::set<std::string> routed;
  for (const auto& route : routes()) {
    CAPTURE(route.id);
    routed.insert(route.command);
    CHECK((route.command.empty() || server::command_table().find(route.command) != nullptr));
    CHECK(find_schema(route.answer) != nullptr);
    for (const auto& name : path_fields(route.path)) CHECK(path_field(name).name == name);
    // What only looks is for who may only look; what changes something is recorded.
    if (const auto* command = server::command_table().find(route.command); command != nullptr)
      if (route.method != "GET" && route.shape != Shape::operation) CHECK(!command->audited.empty());
  }
  for (const auto& each : unrouted()) {
    CAPTURE(each.command);
    CHECK(server::command_table().find(each.command) != nullptr);
    CHECK(routed.insert(each.command).second);
  }
  for (const auto& [name, command] : server::command_table().commands()) {
    CAPTURE(name);
    CHECK(routed.count(name) == 1);
  }
  for (const auto& schema : schemas())
    for (const auto& field : schema.fields) CHECK((field.of.empty() || find_schema(field.of) != nullptr));
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code)
    CHECK(kind_of(static_cast<ErrorCode>(code)).status >= 400);
}

}  // namespace
}  // namespace roamstead::rest
