// Pools as administrators see them, in a coordinator on a real repository.
#include <doctest/doctest.h>

#include <filesystem>
#include <thread>

#include "coordinator/server/testing/pool_site.h"
#include "tests/support/command.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

TEST_CASE("while a job changes a pool no other one takes away what it makes") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  const auto create = site.request("pool.create", "");
  int asked = 0;
  const auto made = site.coordinator->execute(create, [&](const admin::Progress&) {
    if (asked++ != 0) return;  // one desktop is made, others are being made
    std::thread([&] {
      for (const json& other :
           {create, json{{"command", "pool.delete"}, {"pool", "sales"}},
            site.of_clone("clone.delete", "SALES-01"), site.of_clone("clone.refresh", "sales-01")}) {
        const auto refused = site.refusal(other);
        CHECK(refused.code == ErrorCode::busy);
        CHECK(refused.to_string().find("'pool create' is running") != std::string::npos);
      }
    }).join();
  });
  REQUIRE(made);
  CHECK(asked == 3);
  CHECK((*made)["made"] == 3);
  for (const char* name : {"SALES-01.vhdx", "SALES-02.vhdx", "SALES-03.vhdx"})
    CHECK(std::filesystem::exists(site.disk(name)));

  asked = 0;
  const auto deleted =
      site.coordinator->execute({{"command", "pool.delete"}, {"pool", "sales"}}, [&](const admin::Progress&) {
        if (asked++ != 0) return;
        std::thread([&] {
          CHECK(site.refusal(create).to_string().find("'pool delete' is running") != std::string::npos);
        }).join();
      });
  REQUIRE(deleted);
  CHECK(site.must(create)["made"] == 3);  // nothing of the jobs is left
}

TEST_CASE("jobs on different clones of a pool run side by side, on one clone or the whole pool they do not") {
  compose::RunningJobs jobs;
  auto first = jobs.begin_clone("sales", "SALES-01", "clone refresh");
  REQUIRE(first);
  CHECK(jobs.begin_clone("sales", "SALES-02", "clone refresh"));
  CHECK(jobs.begin("other", "pool create"));
  const auto same = jobs.begin_clone("sales", "sales-01", "clone delete");
  REQUIRE(!same);
  CHECK(same.error().code == ErrorCode::busy);
  CHECK(same.error().to_string().find("'clone refresh' is running") != std::string::npos);
  CHECK(!jobs.begin("sales", "pool delete"));
  {
    const auto moved = std::move(*first);
    CHECK(!jobs.begin("sales", "pool delete"));
  }
  const auto whole = jobs.begin("sales", "pool delete");
  REQUIRE(whole);
  CHECK(!jobs.begin_clone("sales", "SALES-02", "clone refresh"));
}

}  // namespace
}  // namespace roamstead::server
