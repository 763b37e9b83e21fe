#include "coordinator/repository/rules_report.h"

#include "coordinator/repository/test_content.h"

using namespace roamstead;
using namespace roamstead::repository;
using profile::RuleAction;

static profile::Rule made(RuleAction action, const char* pattern) {
  return {action, pattern, {}, profile::kAnySize, ""};
}

TEST_CASE("a report says by rule and version what would have been spared, and what would no longer roam") {
  TestRepository test;
  BatchMaker first;
  first.directory("Cache");
  first.directory("Documents");
  first.file("Cache/a", std::string(1000, 'a'));
  first.file("Documents/b", std::string(200, 'b'));
  first.file("Documents/c.tmp", std::string(50, 'c'));
  REQUIRE(test.commit(first));
  BatchMaker second;
  second.file("Cache/a", std::string(3000, 'd'));
  second.file("Documents/large", std::string(5000, 'e'));
  REQUIRE(test.commit(second));
  auto limit = made(RuleAction::max_size, "Documents/**");
  limit.most_bytes = 4000;
  const auto rules =
      profile::Rules::make({made(RuleAction::exclude, "Cache"), made(RuleAction::exclude, "**/*.tmp"), limit,
                            made(RuleAction::at_logout, "Documents/b")})
          .value();
  const auto info = test.repository->find_profile("alice").value();
  const auto report = report_rules(*test.repository, info, rules, 100).value();
  REQUIRE(report.versions.size() == 2);
  CHECK(report.versions[0].spared.bytes == 1050);
  CHECK(report.versions[0].spared.items == 3);  // the folder too
  CHECK(report.versions[1].spared.bytes == 8000);
  CHECK(report.versions[1].by_rule.at(0).bytes == 3000);
  CHECK(report.versions[1].by_rule.at(2).bytes == 5000);
  CHECK(report.by_rule.at(0).bytes == 4000);
  CHECK(report.by_rule.at(1).items == 1);
  CHECK(report.spared.bytes == 9050);
  CHECK(report.head.bytes == 8250);
  CHECK(report.head_left_out.bytes == 8050);
  CHECK(report.no_longer == std::vector<std::string>{"Cache/", "Documents/c.tmp"});
  CHECK(report.too_large == std::vector<std::string>{"Documents/large"});
  CHECK(report.only_at_logout == std::vector<std::string>{"Documents/b"});
  CHECK(report_rules(*test.repository, info, rules, 1).value().versions.size() == 1);
  CHECK(report_rules(*test.repository, info, {}, 10).value().spared.items == 0);
}
