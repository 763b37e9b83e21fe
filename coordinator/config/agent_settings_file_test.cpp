#include "coordinator/config/agent_settings_file.h"

#include <doctest/doctest.h>

#include "tests/support/seed.h"

namespace roamstead::config {

static std::string refused(const std::string& text) {
  const auto parsed = parse_agent_settings(text, "s.toml");
  return parsed ? "taken" : parsed.error().message;
}

TEST_CASE("settings of agents are read by the names and in the order of the table") {
  const auto parsed = parse_agent_settings(
      "# all of the pool\n[agent.settings]\nLogLevel = \"debug\"\nfillmibpersecond = 20\n", "s.toml");
  REQUIRE_MESSAGE(parsed.has_value(), parsed.error().to_string());
  CHECK(*parsed == settings::SentSettings{{"FillMiBPerSecond", "20"}, {"LogLevel", "debug"}});
  CHECK(parse_agent_settings("", "s.toml")->empty());
  CHECK(parse_agent_settings("[agent.settings]\n", "s.toml")->empty());
}

TEST_CASE("what is wrong with settings is said with file, line and what is expected") {
  const std::string head = "[agent.settings]\n";
  CHECK(refused(head + "FillMiBPerSecond = -1\n") ==
        "s.toml:2: 'FillMiBPerSecond' is to be a whole number from 0 to 1048576");
  CHECK(refused(head + "\nPatienceSeconds = 0\n") ==
        "s.toml:3: 'PatienceSeconds' is to be a whole number from 1 to 3600");
  CHECK(refused(head + "PatienceSeconds = \"5\"\n").find("s.toml:2: 'PatienceSeconds' is to be") == 0);
  CHECK(refused(head + "LogLevel = \"much\"\n") ==
        "s.toml:2: 'LogLevel' is to be one of \"debug\", \"info\", \"warning\", \"error\"");
  CHECK(refused(head + "FilLevel = \"all\"\n") ==
        "s.toml:2: there is no setting 'FilLevel'; did you mean 'FillLevel'?");
  CHECK(refused(head + "FillLevel = \"all\"\nfilllevel = \"none\"\n") ==
        "s.toml:3: 'FillLevel' is set twice");
  CHECK(refused("LogLevel = \"info\"\n") ==
        "s.toml:1: 'LogLevel' is not known here: write settings below a line [agent.settings]");
  CHECK(refused("[agent]\nLogLevel = \"info\"\n").find("s.toml:2: 'LogLevel' is not known here") == 0);
  CHECK(refused("[agent.settings\n").find("s.toml:1: ") == 0);
  // Two at once.
  CHECK(refused(head + "A = 1\nLogKiB = 64\n").find("\ns.toml:3: 'LogKiB' cannot be set from here") !=
        std::string::npos);
  CHECK(refused(std::string(kMostSettingsFileBytes + 1, '#')).find("s.toml: more than") == 0);
}

TEST_CASE("an administrator cannot set what an agent would refuse") {
  for (const auto& each : settings::setting_table()) {
    if (each.from_coordinator) continue;
    const std::string name(each.name);
    for (const char* value : {"1", "\"C:\\\\evil.exe\"", "[\"C:\\\\evil.exe\"]"}) {
      INFO(name, " = ", value);
      CHECK(refused("[agent.settings]\n" + name + " = " + value + "\n") ==
            "s.toml:2: '" + name + "' cannot be set from here: set it on the desktop, by group policy");
    }
  }
}

TEST_CASE("whatever stands in a settings file, what is taken an agent takes") {
  auto random = support::seeded_random();
  const std::string whole = "[agent.settings]\nFillMiBPerSecond = 20\nLogLevel = \"debug\"\nFillPauses = 0\n";
  for (int i = 0; i < 3'000; ++i) {
    auto bent = whole;
    for (auto changes = 1 + random() % 3; changes != 0; --changes)
      bent[random() % bent.size()] = static_cast<char>(random() % 128);
    if (const auto parsed = parse_agent_settings(bent, "s.toml"))
      for (const auto& each : *parsed) CHECK(settings::check_sent(each));
  }
}

}  // namespace roamstead::config
