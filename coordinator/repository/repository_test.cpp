#include "coordinator/repository/repository.h"

#include <filesystem>

#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

static std::vector<std::string> names(const Tree& tree, std::string_view directory,
                                      std::size_t limit = 1000) {
  std::vector<std::string> found;
  std::string after;
  for (;;) {
    auto part = tree.list(path(directory), after, limit).value();
    for (const auto& child : part) found.push_back(child.name);
    if (part.size() < limit) return found;
    after = part.back().name;
  }
}

TEST_CASE("what is committed is listed, read back, and there after reopening") {
  TestRepository test;
  std::mt19937_64 random(1);
  auto big = random_bytes(random, 1'500'000);
  BatchMaker maker;
  maker.directory("Documents");
  maker.file("Documents/note.txt", "hello");
  maker.file("Documents/big.bin", big).entry.metadata = {profile::kAttributeHidden, 5, 6, to_bytes("sd")};
  maker.file("empty", "");
  auto committed = test.commit(maker);
  REQUIRE_MESSAGE(committed, committed.error().to_string());
  CHECK(committed->number == 1);
  CHECK(committed->records == 4);
  CHECK(committed->new_bytes > big.size());
  for (int round = 0; round < 2; ++round) {
    auto tree = test.repository->tree(test.profile, 1).value();
    CHECK(names(*tree, "") == std::vector<std::string>{"Documents", "empty"});
    CHECK(names(*tree, "Documents", 1) == std::vector<std::string>{"big.bin", "note.txt"});
    CHECK(tree->lookup(path("Documents/big.bin"))->metadata.security == to_bytes("sd"));
    CHECK(test.read(1, "Documents/big.bin") == big);
    CHECK(test.read(1, "Documents/note.txt") == to_bytes("hello"));
    Bytes part(1000);
    REQUIRE(tree->read(path("Documents/big.bin"), "", 777'777, part));
    CHECK(std::equal(part.begin(), part.end(), big.begin() + 777'777));
    CHECK(tree->read(path("Documents/big.bin"), "", 1'499'500, part).error().code ==
          ErrorCode::invalid_argument);
    CHECK(tree->lookup(path("nothing")).error().code == ErrorCode::not_found);
    CHECK(test.repository->find_profile("alice")->head == 1);
    test.reopen();
  }
  auto report = test.repository->check({}).value();
  CHECK(report.problems.empty());
  CHECK(report.versions_checked == 1);
}
