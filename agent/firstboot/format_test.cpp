// steps.json, state.json, and what Windows is told to start.
#include <doctest/doctest.h>

#include "agent/firstboot/command.h"
#include "common/base/text.h"
#include "common/firstboot/state.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::firstboot {
namespace {

using support::must;

Step built_in(StepKind kind) {
  Step step;
  step.kind = kind;
  step.name = std::string(to_string(kind));
  step.disk_bytes = 20u << 20;
  step.mbr = true;
  step.letter = 'E';
  step.label = "Alice's data";
  return step;
}

TEST_CASE("steps are read as they were written") {
  Step script;
  script.name = "10 prïnters & more.cmd";
  script.attempts = 10;
  script.timeout_seconds = 86'400;
  const std::vector<Step> steps{built_in(StepKind::format_data_disk), script,
                                built_in(StepKind::assign_drive_letter), built_in(StepKind::activate)};
  const auto text = steps_json(steps);
  const auto read = must(parse_steps(text, "steps.json"));
  CHECK(steps_json(read) == text);
  CHECK(read.at(0).kind == StepKind::format_data_disk);
  CHECK(read.at(0).disk_bytes == 20u << 20);
  CHECK(read.at(0).mbr);
  CHECK(read.at(2).letter == 'E');
  CHECK(read.at(1).name == script.name);
}

TEST_CASE("steps that cannot be are refused, with the place") {
  const auto refusal = [](std::string step) {
    const auto read = parse_steps("{\"format\": 1, \"steps\": [" + step + "]}", "steps.json");
    return read ? std::string() : read.error().to_string();
  };
  const std::string good = R"({"kind":"script","name":"a.cmd","attempts":1,"timeout_seconds":1})";
  CHECK(refusal(good).empty());
  CHECK(refusal(R"({"kind":"later","name":"a","attempts":1,"timeout_seconds":1,"new":[]})").empty());
  CHECK(refusal(good + "," + good).find("one name") != std::string::npos);
  for (
      const char* bad :
      {R"({"kind":"script","name":"..\\a.cmd","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":"a/b.cmd","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":"%TEMP%.cmd","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":"a\".cmd","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":"a.vbs","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":".cmd","attempts":1,"timeout_seconds":1})",
       R"({"kind":"script","name":"a.cmd","attempts":0,"timeout_seconds":1})",
       R"({"kind":"script","name":"a.cmd","attempts":11,"timeout_seconds":1})",
       R"({"kind":"script","name":"a.cmd","attempts":-1,"timeout_seconds":1})",
       R"({"kind":"script","name":"a.cmd","attempts":1,"timeout_seconds":86401})",
       R"({"kind":"script","name":"a.cmd","attempts":"1","timeout_seconds":1})",
       R"({"kind":"script","name":"a.cmd","timeout_seconds":1})",
       R"({"kind":"format-data-disk","name":"a","attempts":1,"timeout_seconds":1,"disk_bytes":1,"table":"apm",)"
       R"("letter":"D","label":"x"})",
       R"({"kind":"assign-drive-letter","name":"a","attempts":1,"timeout_seconds":1,"letter":"C","label":"x"})",
       R"({"kind":"assign-drive-letter","name":"a","attempts":1,"timeout_seconds":1,"letter":"DE","label":"x"})",
       R"({"kind":"assign-drive-letter","name":"a","attempts":1,"timeout_seconds":1,"letter":"D","label":""})",
       R"(7)", R"({})"}) {
    CAPTURE(bad);
    CHECK(refusal(bad).find("steps.json: step 1") == 0);
  }
  for (const char* bad :
       {"", "{", "[]", "{\"format\": 1}", "{\"format\": 1, \"steps\": {}}", "{\"format\": \"x\"}"})
    CHECK(parse_steps(bad, "steps.json").error().code == ErrorCode::corrupt);
  CHECK(parse_steps("{\"format\": 2}", "steps.json").error().code == ErrorCode::unsupported);
  std::string many = "{\"format\": 1, \"steps\": [0";
  for (int i = 0; i < 1000; ++i) many += ",0";
  CHECK(parse_steps(many + "]}", "steps.json").error().code == ErrorCode::corrupt);
}

TEST_CASE("a state is read as it was written, and what is none is refused") {
  State state;
  state.status = Status::restarting;
  state.restarts = 2;
  state.error = "all of it";
  state.steps = {{"a.cmd", 2, Status::done, 3010u, "", "2026-11-22T19:00:00Z", "2026-11-22T19:00:01Z"},
                 {"b.cmd", 1, Status::running, std::nullopt, "timed out after 1 s", "", ""}};
  const auto text = state_json(state);
  const auto read = must(parse_state(text, "state.json"));
  CHECK(state_json(read) == text);
  CHECK(read.steps.at(0).exit == 3010u);
  CHECK(!read.steps.at(1).exit);
  state.error = "\xff";  // as a program may have printed it
  CHECK(parse_state(state_json(state), "state.json").has_value());
  for (const char* bad :
       {"", "[]", "{\"format\":1,\"status\":\"lost\",\"steps\":[]}", "{\"format\":1,\"status\":\"done\"}",
        "{\"format\":1,\"status\":\"done\",\"steps\":[{}]}", "{\"format\":1,\"status\":1,\"steps\":[]}"})
    CHECK(parse_state(bad, "state.json").error().code == ErrorCode::corrupt);
}

TEST_CASE(
    "whatever is damaged in the files, they are refused or read as something that can be written again") {
  auto random = support::seeded_random();
  State state;
  state.steps = {{"a.cmd", 2, Status::done, 3010u, "", "2026-11-22T19:00:00Z", "2026-11-22T19:00:01Z"},
                 {"b.cmd", 1, Status::failed, std::nullopt, "timed out after 1 s", "", ""}};
  Step script;
  script.name = "10-printers.cmd";
  const std::string texts[] = {state_json(state), steps_json({built_in(StepKind::format_data_disk), script})};
  std::size_t read = 0;
  for (int round = 0; round < 4000; ++round) {
    auto text = texts[round % 2];
    for (auto changes = random() % 3 + 1; changes > 0; --changes) {
      const auto at = random() % text.size();
      const char bytes[] = {
          '"', '{', '}', '[', ']', ',', ':', '9', '-', '\\', '\xff', '\0', static_cast<char>(random())};
      if (random() % 4 == 0)
        text.erase(at, random() % 8 + 1);
      else
        text[at] = bytes[random() % std::size(bytes)];
      if (text.empty()) text = " ";
    }
    if (round % 2 == 0) {
      if (const auto parsed = parse_state(text, "state.json")) {
        ++read;
        CHECK(state_json(must(parse_state(state_json(*parsed), "again"))) == state_json(*parsed));
      }
    } else if (const auto parsed = parse_steps(text, "steps.json")) {
      ++read;
      for (const auto& step : *parsed)
        if (const auto command = command_of(step, "C:\\x")) CHECK(command->line.size() < 32'767);
    }
  }
  CHECK(read > 100);
  CHECK(parse_state(std::string(100'000, '['), "deep").error().code == ErrorCode::corrupt);
}

TEST_CASE("commands name Windows' own programs by their full paths, and quote what is given") {
  Step step;
  step.name = "a & b.cmd";
  const std::string scripts = "C:\\ProgramData\\Roamstead\\firstboot\\scripts";
  auto command = must(command_of(step, scripts));
  CHECK(command.program == "%SystemRoot%\\System32\\cmd.exe");
  CHECK(command.line == "\"%SystemRoot%\\System32\\cmd.exe\" /d /s /c \"\"" + scripts + "\\a & b.cmd\"\"");
  CHECK(command.folder == scripts);
  step.name = "b.exe";
  command = must(command_of(step, scripts));
  CHECK(command.program == scripts + "\\b.exe");
  CHECK(command.line == '"' + scripts + "\\b.exe\"");
  step.name = "c.ps1";
  command = must(command_of(step, scripts));
  CHECK(command.program == "%SystemRoot%\\System32\\WindowsPowerShell\\v1.0\\powershell.exe");
  CHECK(command.line.ends_with(" -NoProfile -NonInteractive -ExecutionPolicy Bypass -File \"" + scripts +
                               "\\c.ps1\""));
  step.kind = StepKind::unknown;
  CHECK(command_of(step, scripts).error().code == ErrorCode::unsupported);
}

// As PowerShell reads -EncodedCommand.
std::string decoded(const std::string& line) {
  const auto text = line.substr(line.rfind(' ') + 1);
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Bytes bytes;
  std::uint32_t bits = 0;
  int held = 0;
  REQUIRE(text.size() % 4 == 0);
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(digits.find(c));
    held += 6;
    if (held >= 8) bytes.push_back(static_cast<std::byte>(bits >> (held -= 8) & 255));
  }
  return utf16le_to_wtf8(bytes);
}

TEST_CASE("built-in steps reach PowerShell as they are, with what the administrator named quoted") {
  for (const auto kind : {StepKind::format_data_disk, StepKind::assign_drive_letter, StepKind::activate}) {
    const auto step = built_in(kind);
    const auto command = must(command_of(step, "C:\\x"));
    CHECK(decoded(command.line) == built_in_script(step));
    CHECK(command.line.size() < 30'000);  // CreateProcess takes 32,767 characters
  }
  auto step = built_in(StepKind::format_data_disk);
  CHECK(built_in_script(step).find("$label = 'Alice''s data'\n") != std::string::npos);
  CHECK(built_in_script(step).find("$letter = 'E'\n") != std::string::npos);
  CHECK(built_in_script(step).find("$bytes = 20971520\n") != std::string::npos);
  CHECK(built_in_script(step).find("$style = 'MBR'\n") != std::string::npos);
  for (std::size_t pad = 0; pad < 3; ++pad) {  // every way base64 can end
    step.label = std::string(pad + 1, 'x');
    CHECK(decoded(must(command_of(step, "C:\\x")).line) == built_in_script(step));
  }
}

}  // namespace
}  // namespace roamstead::firstboot
