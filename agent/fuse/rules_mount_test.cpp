// A session's rules as programs meet them: what is not shown, what is loaded when, what may be renamed.
#include <fcntl.h>

#include "agent/core/session_rules.h"
#include "agent/fuse/test_desk.h"
#include "common/extract/selection.h"

namespace roamstead::agent {
namespace {

using profile::Rule;
using profile::RuleAction;

std::string canonical(std::vector<Rule> rules) {
  return must(profile::Rules::make(std::move(rules))).canonical();
}
Rule rule(RuleAction action, const char* pattern) { return {action, pattern, {}, profile::kAnySize, ""}; }

TEST_CASE("what rules exclude is not shown, and the folders that lead to what they include are") {
  FOR_EACH_VOLUME({
    link.entries_per_part = 2;
    for (auto path : {"AppData/Local/Temp/old", "AppData/Local/App/cache", "AppData/Local/App/keep/settings",
                      "Documents/a", "Documents/b.tmp", "Documents/c"})
      link.add_file(path, "content");
    link.rules =
        canonical({rule(RuleAction::exclude, "AppData/Local"), rule(RuleAction::local_only, "**/*.tmp"),
                   rule(RuleAction::include, "AppData/Local/App/keep")});
    Desk desk(volume, link, snapshots);
    CHECK(names_in(desk / "AppData/Local") == std::set<std::string>{"App"});
    CHECK(names_in(desk / "AppData/Local/App") == std::set<std::string>{"keep"});
    CHECK(read_whole(desk / "AppData/Local/App/keep/settings") == "content");
    CHECK(names_in(desk / "Documents") == std::set<std::string>{"a", "c"});
    REQUIRE(::mkdir((desk / "AppData/Local/Temp").c_str(), 0755) == 0);  // made anew, and empty
    CHECK(names_in(desk / "AppData/Local/Temp").empty());
    write_whole(desk / "Documents/b.tmp", "of this desktop");
    CHECK(read_whole(desk / "Documents/b.tmp") == "of this desktop");
  });
}

TEST_CASE("a session keeps the rules that it began with") {
  FOR_EACH_VOLUME({
    link.add_file("out/x", "content");
    link.rules = canonical({rule(RuleAction::exclude, "out"), rule(RuleAction::at_logout, "late")});
    {
      Desk desk(volume, link, snapshots);
      CHECK(names_in(desk.home).empty());
    }
    link.rules.clear();
    Desk desk(volume, link, snapshots);  // resumed
    CHECK(must(desk.session->status()).resumed);
    CHECK(desk.session->rules().all().size() == 2);
    CHECK(names_in(desk.home).empty());
  });
}

TEST_CASE("what is to be preloaded is there when programs begin") {
  FOR_EACH_VOLUME({
    link.add_file("Documents/templates/deep/t", some_content(3'000'000));
    link.add_file("Documents/other", some_content(100'000));
    link.rules = canonical({rule(RuleAction::preload, "Documents/templates")});
    Desk desk(volume, link, snapshots);
    CHECK(must(desk.session->status()).preloaded.files == 1);
    CHECK(must(desk.session->status()).preloaded.complete);
    CHECK(link.read_bytes == 3'000'000);
    link.away = true;
    CHECK(read_whole(desk / "Documents/templates/deep/t") == some_content(3'000'000));
    link.away = false;
  });
}

TEST_CASE("a log-in is not refused because what is to be preloaded cannot be") {
  FOR_EACH_VOLUME({
    link.add_file("Documents/t", "content");
    link.rules = canonical(
        {rule(RuleAction::preload, "missing/**"), rule(RuleAction::preload, "HKCU\\Software\\None")});
    Desk desk(volume, link, snapshots);
    CHECK(read_whole(desk / "Documents/t") == "content");
  });
}

TEST_CASE("filling leaves alone what is loaded on demand, and what is below it") {
  FOR_EACH_VOLUME({
    link.add_file("Archive/2001/a", some_content(10'000));
    link.add_file("Archive/wanted/b", some_content(20'000));
    link.add_file("Documents/c", some_content(40'000));
    link.add_file("Videos/d", some_content(80'000));
    link.rules =
        canonical({rule(RuleAction::on_demand, "Archive"), rule(RuleAction::background, "Archive/wanted"),
                   rule(RuleAction::on_demand, "Videos/**"), rule(RuleAction::background, "Documents")});
    Desk desk(volume, link, snapshots);
    desk.session->fill().start(FillLevel::all);
    REQUIRE(desk.session->fill().wait(std::chrono::seconds(20)));
    CHECK(link.read_bytes == 60'000);
    CHECK(read_whole(desk / "Archive/2001/a") == some_content(10'000));
  });
}

TEST_CASE("what is not loaded yet is not renamed to where other rules hold, but copied") {
  FOR_EACH_VOLUME({
    link.add_file("Documents/a", some_content(5000));
    link.add_file("Documents/folder/x", "x");
    link.add_directory("out");
    link.rules = canonical({rule(RuleAction::exclude, "out")});
    Desk desk(volume, link, snapshots);
    REQUIRE(::mkdir((desk / "out").c_str(), 0755) == 0);
    CHECK(::rename((desk / "Documents/a").c_str(), (desk / "out/a").c_str()) != 0);
    CHECK(errno == EXDEV);
    CHECK(::rename((desk / "Documents/folder").c_str(), (desk / "out/folder").c_str()) != 0);
    CHECK(errno == EXDEV);
    CHECK(::rename((desk / "Documents/a").c_str(), (desk / "Documents/b").c_str()) == 0);
    REQUIRE(run_command("mv " + (desk / "Documents/b") + " " + (desk / "out/b")));
    CHECK(read_whole(desk / "out/b") == some_content(5000));
    CHECK(::access((desk / "Documents/b").c_str(), F_OK) != 0);
    write_whole(desk / "out/made", "here");
    CHECK(::rename((desk / "out/made").c_str(), (desk / "Documents/made").c_str()) == 0);
  });
}

TEST_CASE("what is local stays on the desktop from session to session, and is its profile's alone") {
  FOR_EACH_VOLUME({
    link.add_file("AppData/Local/x", "content");
    link.rules =
        canonical({rule(RuleAction::local_only, "AppData/Local/Machine"), rule(RuleAction::exclude, "gone")});
    const auto log_out = [](Desk& desk) {
      must(desk.mount->unmount());
      must(desk.session->logout(std::chrono::seconds(20)));
    };
    for (int session = 0; session < 3; ++session) {
      Desk desk(volume, link, snapshots);
      if (session == 0) {
        REQUIRE(::mkdir((desk / "AppData/Local/Machine").c_str(), 0755) == 0);
        REQUIRE(::mkdir((desk / "gone").c_str(), 0755) == 0);
        write_whole(desk / "AppData/Local/Machine/a", "of this desktop");
      } else {
        CHECK(names_in(desk.home) == std::set<std::string>{"AppData"});
        CHECK(names_in(desk / "AppData/Local") == std::set<std::string>{"Machine", "x"});
        CHECK(read_whole(desk / "AppData/Local/Machine/a") == "of this desktop");
      }
      log_out(desk);
    }
  });
}

TEST_CASE("at log-out the volume says so, and the next session knows nothing of it") {
  FOR_EACH_VOLUME({
    link.rules = canonical({rule(RuleAction::at_logout, "late")});
    const auto agent_folder = volume.path() + "/ProgramData/Roamstead/";
    {
      Desk desk(volume, link, snapshots);
      CHECK(read_whole(agent_folder + extract::kRulesFile) == link.rules);
      CHECK(::access((agent_folder + extract::kLogoutFile).c_str(), F_OK) != 0);
      const auto marker = extract::logout_marker(must(desk.session->status()).facts.session);
      must(desk.mount->unmount());
      must(desk.session->logout(std::chrono::seconds(20)));
      CHECK(read_whole(agent_folder + extract::kLogoutFile) == marker);
    }
    link.rules.clear();
    Desk desk(volume, link, snapshots);
    CHECK(::access((agent_folder + extract::kRulesFile).c_str(), F_OK) != 0);
    CHECK(::access((agent_folder + extract::kLogoutFile).c_str(), F_OK) != 0);
  });
}

}  // namespace
}  // namespace roamstead::agent
