// The steps of a first start, decided portably: what is run when, whatever happens in between.
#include "agent/firstboot/runner.h"

#include <doctest/doctest.h>

#include <map>

#include "tests/support/crash_file_system.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::firstboot {
namespace {

using support::must;

constexpr const char* kFolder = "/firstboot";

// A machine whose programs end as it is told.
class ScriptedMachine final : public Machine {
 public:
  using Answer = std::function<Result<Ended>()>;
  static Answer exits(std::uint32_t status) {
    return [status] { return Ended{status, false}; };
  }

  // By the scripts' names; the last answer is given from then on, and 0 where there is none.
  std::map<std::string, std::vector<Answer>> answers;
  std::vector<std::string> ran;
  std::vector<std::chrono::milliseconds> pauses;
  bool stop = false;

  Result<Ended> run(const Command& command, std::chrono::seconds, const std::string&) override {
    const auto from = command.line.rfind('\\') + 1;
    const auto name = command.line.substr(from, command.line.find('"', from) - from);
    ran.push_back(name);
    const auto before = static_cast<std::size_t>(std::count(ran.begin(), ran.end(), name)) - 1;
    const auto& list = answers[name];
    return list.empty() ? Ended{0, false} : list[std::min(before, list.size() - 1)]();
  }
  bool pause(std::chrono::milliseconds length) override {
    pauses.push_back(length);
    return !stop;
  }
  bool stop_requested() override { return stop; }
  std::string time_text() override { return "2026-11-22T19:00:00Z"; }
};

Step script(const std::string& name, std::uint32_t attempts = 3) {
  Step step;
  step.name = name;
  step.attempts = attempts;
  return step;
}

template <class Files>
void place(Files& files, const std::vector<Step>& steps) {
  must(files.make_directories(kFolder));
  must(os::write_file_durably(files, steps_path(kFolder), as_bytes(steps_json(steps))));
}

struct Desk {
  support::MemoryFileSystem files;
  ScriptedMachine machine;

  explicit Desk(const std::vector<Step>& steps) { place(files, steps); }
  Outcome run(bool again = false) { return must(Runner(files, machine, kFolder).run(again)); }
  State state() { return must(read_state(files, kFolder)).value(); }
};

TEST_CASE("steps are run in order, each until it succeeds, and never again") {
  Desk desk({script("1.cmd"), script("2.exe"), script("3.ps1")});
  desk.machine.answers["2.exe"] = {ScriptedMachine::exits(9), ScriptedMachine::exits(8),
                                   ScriptedMachine::exits(0)};
  CHECK(desk.run() == Outcome::done);
  const std::vector<std::string> wanted{"1.cmd", "2.exe", "2.exe", "2.exe", "3.ps1"};
  CHECK(desk.machine.ran == wanted);
  CHECK(desk.machine.pauses ==
        std::vector<std::chrono::milliseconds>{std::chrono::seconds(1), std::chrono::seconds(2)});
  CHECK(desk.run() == Outcome::done);
  CHECK(desk.machine.ran == wanted);
  const auto state = desk.state();
  CHECK(state.status == Status::done);
  REQUIRE(state.steps.size() == 3);
  CHECK(state.steps[1].attempts == 3);
  CHECK(state.steps[1].exit == 0u);
}

TEST_CASE("a step whose attempts are used up ends it, until somebody asks for more") {
  Desk desk({script("1.cmd", 2), script("2.cmd")});
  desk.machine.answers["1.cmd"] = {[] {
                                     return Machine::Ended{std::nullopt, true};
                                   },
                                   [] { return fail(ErrorCode::not_found, "cannot start it"); },
                                   ScriptedMachine::exits(0)};
  CHECK(desk.run() == Outcome::failed);
  CHECK(desk.state().status == Status::failed);
  CHECK(desk.state().steps.at(0).error == "cannot start it");
  CHECK(desk.run() == Outcome::failed);
  CHECK(desk.machine.ran.size() == 2);
  CHECK(desk.run(true) == Outcome::done);
  CHECK(desk.machine.ran == std::vector<std::string>{"1.cmd", "1.cmd", "1.cmd", "2.cmd"});
  CHECK(desk.state().steps.at(0).attempts == 1);
}

TEST_CASE("a step that needs a restart is done, and nothing is run before the restart") {
  for (const std::uint32_t status : {3010u, 1641u}) {
    Desk desk({script("1.cmd"), script("2.cmd")});
    desk.machine.answers["1.cmd"] = desk.machine.answers["2.cmd"] = {ScriptedMachine::exits(status)};
    CHECK(desk.run() == Outcome::restart);
    CHECK(desk.state().status == Status::restarting);
    CHECK(desk.machine.ran.size() == 1);
    CHECK(desk.run() == Outcome::restart);
    CHECK(desk.state().restarts == 2);
    CHECK(desk.run() == Outcome::done);  // the last step wanted one too
    CHECK(desk.machine.ran == std::vector<std::string>{"1.cmd", "2.cmd"});
    CHECK(desk.state().status == Status::done);
  }
}

TEST_CASE("an attempt is noted before it begins, and counts when a kill interrupts it") {
  Desk desk({script("1.cmd", 2)});
  std::vector<std::uint32_t> noted;
  desk.machine.answers["1.cmd"] = {[&]() -> Result<Machine::Ended> {
    const auto state = desk.state();
    CHECK(state.status == Status::running);
    CHECK(state.steps.at(0).status == Status::running);
    CHECK(!state.steps.at(0).exit);
    noted.push_back(state.steps.at(0).attempts);
    return Machine::Ended{7, false};
  }};
  CHECK(desk.run() == Outcome::failed);
  CHECK(noted == std::vector<std::uint32_t>{1, 2});

  // As a kill in the middle of the last attempt leaves it.
  Desk killed({script("1.cmd", 2)});
  State state;
  state.steps = {{"1.cmd", 2, Status::running, std::nullopt, "", "2026-11-22T19:00:00Z", ""}};
  must(os::write_file_durably(killed.files, state_path(kFolder), as_bytes(state_json(state))));
  CHECK(killed.run() == Outcome::failed);
  CHECK(killed.machine.ran.empty());
  CHECK(killed.state().steps.at(0).status == Status::failed);
  CHECK(killed.state().steps.at(0).error == "interrupted");
}

TEST_CASE("a request to stop ends the attempt, which counts") {
  Desk desk({script("1.cmd", 2)});
  desk.machine.answers["1.cmd"] = {[&]() -> Result<Machine::Ended> {
    desk.machine.stop = true;
    return Machine::Ended{std::nullopt, false};
  }};
  CHECK(desk.run() == Outcome::stopped);
  CHECK(desk.state().steps.at(0).error == "interrupted");
  CHECK(desk.run() == Outcome::stopped);  // while it pauses
  desk.machine.stop = false;
  CHECK(desk.run() == Outcome::stopped);
  desk.machine.stop = false;
  CHECK(desk.run() == Outcome::failed);
  CHECK(desk.machine.ran.size() == 2);
}

TEST_CASE("steps that cannot be understood are reported, and a state of others is left alone") {
  Desk desk({script("1.cmd")});
  CHECK(desk.run() == Outcome::done);
  must(os::write_file_durably(desk.files, steps_path(kFolder), as_bytes(steps_json({script("2.cmd")}))));
  CHECK(Runner(desk.files, desk.machine, kFolder).run().error().code == ErrorCode::conflict);
  CHECK(desk.state().steps.at(0).name == "1.cmd");
  must(desk.files.remove(state_path(kFolder)));
  must(os::write_file_durably(desk.files, steps_path(kFolder), as_bytes("{\"format\": 2, \"steps\": []}")));
  CHECK(desk.run() == Outcome::failed);
  CHECK(desk.state().error.find("newer version") != std::string::npos);
  must(desk.files.remove(steps_path(kFolder)));
  CHECK(desk.run() == Outcome::done);  // there is nothing to do

  Desk later({script("1.cmd")});
  auto text = steps_json({script("1.cmd"), script("2.cmd")});
  text.replace(text.find("\"script\""), 8, "\"levitate\"");
  must(os::write_file_durably(later.files, steps_path(kFolder), as_bytes(text)));
  CHECK(later.run() == Outcome::failed);
  CHECK(later.machine.ran.empty());
  CHECK(later.state().steps.at(0).error.find("newer version") != std::string::npos);
}

TEST_CASE("power lost at any point: a step that is noted as done is not run again, attempts stay bounded") {
  auto random = support::seeded_random();
  const std::vector<Step> steps{script("1.cmd"), script("2.cmd", 4), script("3.cmd"), script("4.cmd")};
  const auto prepare = [](ScriptedMachine& machine) {
    machine.answers["2.cmd"] = {ScriptedMachine::exits(1), ScriptedMachine::exits(0)};
    machine.answers["3.cmd"] = {ScriptedMachine::exits(3010)};
  };
  support::CrashFileSystem first;
  place(first, steps);
  must(first.sync_directory("/"));
  std::size_t crashes = 0;
  for (std::uint64_t at = 0;; ++at) {
    CAPTURE(at);
    const auto files = first.clone();
    files->crash_after(at + files->operations());
    ScriptedMachine machine;
    prepare(machine);
    auto outcome = Runner(*files, machine, kFolder).run();
    if (outcome && *outcome == Outcome::restart) outcome = Runner(*files, machine, kFolder).run();
    const bool crashed = files->crashed();
    std::size_t done_before = 0;
    if (crashed) {
      ++crashes;
      files->power_loss(random());
      const auto state = must(read_state(*files, kFolder));  // whole, or none
      if (state)
        for (const auto& step : state->steps) done_before += step.status == Status::done ? 1u : 0u;
      const auto ran_before = machine.ran.size();
      do {
        outcome = must(Runner(*files, machine, kFolder).run());
      } while (*outcome == Outcome::restart);
      for (auto again = ran_before; again < machine.ran.size(); ++again)
        for (std::size_t done = 0; done < done_before; ++done) CHECK(machine.ran[again] != steps[done].name);
    }
    CHECK(*outcome == Outcome::done);
    const auto state = must(read_state(*files, kFolder)).value();
    CHECK(state.status == Status::done);
    REQUIRE(state.steps.size() == steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto times = std::count(machine.ran.begin(), machine.ran.end(), steps[i].name);
      CHECK(times >= 1);
      CHECK(times <= steps[i].attempts);
      // At most one repetition, of what was under way when the power went.
      CHECK(times <= (i == 1 ? 2 : 1) + (crashed ? 1 : 0));
    }
    if (!crashed) break;
  }
  CHECK(crashes > 20);
}

}  // namespace
}  // namespace roamstead::firstboot
