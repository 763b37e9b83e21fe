// The texts that say who may do what, taken apart: Wine enforces none of them, so that they say what is meant
// is all that a test can show here.
#include "agent/win/intercept/security.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

namespace roamstead::agent {
namespace {

struct Entry {
  std::string type, rights, who;
};

std::vector<Entry> entries(const std::string& sddl, char list) {
  const auto start = sddl.find(std::string(1, list) + ":");
  REQUIRE(start != std::string::npos);
  std::vector<Entry> found;
  for (auto at = sddl.find_first_of("(S", start + 2); at != std::string::npos && sddl[at] == '(';) {
    const auto end = sddl.find(')', at);
    REQUIRE(end != std::string::npos);
    std::vector<std::string> parts(1);
    for (auto i = at + 1; i < end; ++i)
      if (sddl[i] == ';') {
        parts.emplace_back();
      } else {
        parts.back() += sddl[i];
      }
    REQUIRE(parts.size() == 6);
    CHECK(parts[1].empty());  // inherited by nothing
    found.push_back({parts[0], parts[2], parts[5]});
    at = end + 1 < sddl.size() ? end + 1 : std::string::npos;
  }
  return found;
}

TEST_CASE("the pipe: users ask, and make no instance of their own; nobody from the network") {
  constexpr unsigned long kCreateInstance = 0x4, kWriteDac = 0x40000, kWriteOwner = 0x80000,
                          kDelete = 0x10000;
  const auto all = entries(kInterceptPipeSddl, 'D');
  REQUIRE(all.size() == 5);
  CHECK(all[0].type == "D");  // denials come first
  CHECK(all[0].who == "NU");
  std::map<std::string, std::string> allowed;
  for (std::size_t i = 1; i < all.size(); ++i) {
    CHECK(all[i].type == "A");
    allowed[all[i].who] = all[i].rights;
  }
  CHECK(allowed.at("SY") == "GA");
  CHECK(allowed.at("BA") == "GA");
  CHECK(allowed.size() == 4);
  for (const char* who : {"AU", "AC"}) {
    const auto rights = std::stoul(allowed.at(who), nullptr, 16);
    CHECK((rights & 3) == 3);
    CHECK((rights & (kCreateInstance | kWriteDac | kWriteOwner | kDelete)) == 0);
  }
  CHECK(std::string(kInterceptPipeSddl).substr(0, 4) == "D:P(");
  const auto labels = entries(kInterceptPipeSddl, 'S');
  REQUIRE(labels.size() == 1);
  CHECK(labels[0].type == "ML");
  CHECK(labels[0].rights == "NW");
  CHECK(labels[0].who == "LW");
}

TEST_CASE("the state map: its user reads it, and writes to it nobody but the service") {
  constexpr unsigned long kMapWrite = 0x2, kMapExecute = 0x8, kExtend = 0x10;
  const auto all = entries(state_map_sddl("S-1-5-21-1-2-3-1001"), 'D');
  REQUIRE(all.size() == 4);
  int readers = 0;
  for (const auto& entry : all) {
    CHECK(entry.type == "A");
    if (entry.who == "SY" || entry.who == "BA") continue;
    ++readers;
    CHECK((entry.who == "S-1-5-21-1-2-3-1001" || entry.who == "AC"));
    const auto rights = std::stoul(entry.rights, nullptr, 16);
    CHECK((rights & 4) != 0);
    CHECK((rights & ~5ul) == 0);
    CHECK((rights & (kMapWrite | kMapExecute | kExtend)) == 0);
  }
  CHECK(readers == 2);
}

}  // namespace
}  // namespace roamstead::agent
