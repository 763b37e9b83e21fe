// What log-ins touch first, kept for the next ones.
#include "coordinator/server/testing/session_fixture.h"

namespace roamstead::server {
namespace {

using wire::WorkingItem;
using Kind = WorkingItem::Kind;

WorkingItem file(const std::string& path) { return {Kind::file, path, ""}; }

TEST_CASE("the next log-in is told what the ones before touched first, newest first") {
  SessionFixture f;
  auto a = f.open("desk-a").value();
  CHECK(a.working_set.empty());
  const WorkingItem key{Kind::key, "NTUSER.DAT", "Software"};
  REQUIRE(f.table->learned("desk-a", {a.session_secret, {file("x"), key}}));
  CHECK(code_of(f.table->learned("desk-b", {a.session_secret, {file("x")}})) == ErrorCode::denied);
  REQUIRE(f.table->close("desk-a", a.session_secret));
  f.restart();
  auto b = f.open("desk-b").value();
  CHECK(b.working_set == std::vector<WorkingItem>{file("x"), key});
  REQUIRE(f.table->learned("desk-b", {b.session_secret, {file("y"), file("x")}}));
  CHECK(f.open("desk-b")->working_set == std::vector<WorkingItem>{file("y"), file("x"), key});
}

TEST_CASE("a session that is resumed is not told again, and another profile's is not told at all") {
  SessionFixture f;
  auto bob = f.repository.add_profile("bob", {});
  REQUIRE(f.store->assign({"desk-a", bob.id, "bob"}));
  auto a = f.open("desk-a").value();
  REQUIRE(f.table->learned("desk-a", {a.session_secret, {file("x")}}));
  CHECK(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 0})->working_set.empty());
  CHECK(f.table->open("desk-a", {"bob", "", {}})->working_set.empty());
}

TEST_CASE("what is not touched for some sessions is forgotten, and there is never more than fits") {
  support::TemporaryDirectory folder;
  auto& files = os::real_file_system();
  auto store = WorkingSetStore::open(files, folder / "sets").value();
  auto profile = Guid::random();
  REQUIRE(store->learn(profile, {file("old"), file("kept")}));
  for (int i = 1; i < WorkingSetStore::kKeepSessions; ++i) {
    CHECK(store->find(profile).size() == 2);
    REQUIRE(store->learn(profile, {file("kept")}));
  }
  REQUIRE(store->learn(profile, {file("kept")}));
  CHECK(store->find(profile) == std::vector<WorkingItem>{file("kept")});
  for (int session = 0; session < 3; ++session) {
    std::vector<WorkingItem> many;
    for (std::size_t i = 0; i < wire::kMostWorkingItems; ++i)
      many.push_back(file("s" + std::to_string(session) + " " + std::to_string(i)));
    REQUIRE(store->learn(profile, many));
    CHECK(store->find(profile) == many);
  }
}

TEST_CASE("working sets that no desktop of ours says are refused, and files that are damaged count as none") {
  support::TemporaryDirectory folder;
  auto& files = os::real_file_system();
  auto store = WorkingSetStore::open(files, folder / "sets").value();
  auto profile = Guid::random();
  CHECK(code_of(store->learn(profile, {file("../up")})) == ErrorCode::invalid_argument);
  CHECK(code_of(store->learn(profile, {{static_cast<Kind>(3), "x", ""}})) == ErrorCode::invalid_argument);
  CHECK(code_of(store->learn(profile, std::vector<WorkingItem>(wire::kMostWorkingItems + 1))) ==
        ErrorCode::invalid_argument);
  std::vector<WorkingItem> long_names;
  for (int i = 0; i < 400; ++i) long_names.push_back(file(std::to_string(i) + std::string(200, 'n')));
  CHECK(code_of(store->learn(profile, long_names)) == ErrorCode::invalid_argument);
  CHECK(store->find(profile).empty());

  REQUIRE(store->learn(profile, {file("x")}));
  const auto path = folder / ("sets/" + profile.to_string());
  const auto good = os::read_file(files, path, 1000).value();
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bent = good;
    bent[i] ^= std::byte{0x10};
    REQUIRE(os::write_file_durably(files, path, bent));
    CHECK(store->find(profile).empty());
    REQUIRE(os::write_file_durably(files, path, ByteView(good).first(i)));
    CHECK(store->find(profile).empty());
  }
  REQUIRE(os::write_file_durably(files, path, good));
  CHECK(store->find(profile).size() == 1);
}

}  // namespace
}  // namespace roamstead::server
