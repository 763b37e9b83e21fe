#include <deque>
#include <nlohmann/json.hpp>
#include <regex>

#include "agent/desktop/agent_events.h"
#include "agent/desktop/agent_settings.h"
#include "agent/desktop/control_lines.h"
#include "agent/desktop/image_check.h"
#include "agent/desktop/rotating_log.h"
#include "agent/win/pipe_security.h"
#include "common/base/text.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using nlohmann::json;
using support::must;

constexpr std::uint32_t kText = 1, kExpandable = 2, kNumber = 4, kTexts = 7, kLong = 11;

Bytes utf16(std::string_view text) {
  ByteWriter data;
  for (const auto unit : must(to_utf16(text))) data.le<std::uint16_t>(unit);
  return data.take();
}
RegistryValue text(const std::string& name, const std::string& value, std::uint32_t type = kText) {
  return {name, type, utf16(value + std::string(1, '\0'))};
}
RegistryValue number(const std::string& name, std::uint32_t value) {
  ByteWriter data;
  data.le<std::uint32_t>(value);
  return {name, kNumber, data.take()};
}
RegistryValue list(const std::string& name, std::initializer_list<std::string> values) {
  std::string all;
  for (const auto& each : values) all += each + '\0';
  return {name, kTexts, utf16(all + '\0')};
}

const SettingInForce& in_force(const LoadedSettings& loaded, const std::string& name) {
  for (const auto& each : loaded.in_force)
    if (each.name == name) return each;
  FAIL("no setting " << name);
  return loaded.in_force.front();
}

std::string source_file(const std::string& path) {
  const char* top = std::getenv("ROAMSTEAD_SOURCE_DIR");
  REQUIRE(top != nullptr);
  std::ifstream file(std::string(top) + "/" + path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  REQUIRE(!content.str().empty());
  return content.str();
}

// Two ends in one process: what one writes the other reads, a few bytes at a time.
class Wire {
 public:
  class End final : public ByteStream {
   public:
    End(std::deque<std::byte>& in, std::deque<std::byte>& out) : in_(in), out_(out) {}
    Result<std::size_t> read(MutableByteView out) override {
      const auto count = std::min<std::size_t>({out.size(), in_.size(), 7});
      std::copy_n(in_.begin(), count, out.begin());
      in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(count));
      return count;
    }
    Result<void> write(ByteView data) override {
      out_.insert(out_.end(), data.begin(), data.end());
      return {};
    }

   private:
    std::deque<std::byte>& in_;
    std::deque<std::byte>& out_;
  };
  std::deque<std::byte> there, back;
  End client{back, there}, server{there, back};
  std::string replies() const {
    std::string all;
    for (const auto each : back) all += static_cast<char>(each);
    return all;
  }
  void send(std::string_view bytes) {
    for (const auto each : as_bytes(bytes)) there.push_back(each);
  }
};

}  // namespace

TEST_CASE("policy wins over preference, preference over default, and each setting says where it is from") {
  const auto loaded =
      load_settings({}, {{"policy", {number("PatienceSeconds", 7), text("FillLevel", "metadata")}},
                         {"preference",
                          {number("PatienceSeconds", 9), text("Drive", "D:"),
                           list("FreezeCommand", {"C:\\freeze.exe", "a b", "{top}"}),
                           text("DiskTop", "%x%\\a", kExpandable)}}});
  CHECK(loaded.problems.empty());
  CHECK(loaded.settings.patience == std::chrono::seconds(7));
  CHECK(loaded.settings.fill == "metadata");
  CHECK(loaded.settings.drive == "D:");
  CHECK(loaded.settings.freeze_command == std::vector<std::string>{"C:\\freeze.exe", "a b", "{top}"});
  CHECK(loaded.settings.disk_top == "%x%\\a");
  CHECK(loaded.settings.learn == AgentSettings().learn);
  CHECK(in_force(loaded, "PatienceSeconds").source == "policy");
  CHECK(in_force(loaded, "PatienceSeconds").value == "7");
  CHECK(in_force(loaded, "Drive").source == "preference");
  CHECK(in_force(loaded, "LearnSeconds").source == "default");
}

TEST_CASE("what is unknown or ill-typed is reported and left out, and a good value below it counts") {
  const std::vector<std::pair<RegistryValue, std::string>> wrong = {
      {text("Nonsense", "x"), "no such setting"},
      {text("PatienceSeconds", "7"), "is to be a number"},
      {{"PatienceSeconds", kNumber, Bytes(3)}, "is to be a number"},
      {number("PatienceSeconds", 0), "0 is not between 1 and 3600"},
      {number("FillLevel", 1), "is to be a text"},
      {text("FillLevel", "much"), "none of: none, metadata, all"},
      {{"FillLevel", kText, Bytes(3)}, "odd number of bytes"},
      {text("FillLevel", std::string("a\0b", 3)), "zero character"},
      {text("Drive", "\\\\server\\share"), "not a drive"},
      {text("FreezeCommand", "C:\\freeze.exe"), "list of texts"},
      {{"DiskTop", kText, Bytes(100'000)}, "too long"}};
  for (const auto& [value, expected] : wrong) {
    INFO(value.name, ": ", expected);
    const auto loaded =
        load_settings({}, {{"policy", {value}}, {"preference", {number("PatienceSeconds", 9)}}});
    REQUIRE(loaded.problems.size() == 1);
    CHECK(loaded.problems[0].to_string().find("policy\\" + value.name) == 0);
    CHECK(loaded.problems[0].message.find(expected) != std::string::npos);
    CHECK(loaded.settings.patience == std::chrono::seconds(9));
  }
}

TEST_CASE("what the coordinator sends comes after policy and preference and before the default") {
  const settings::SentSettings sent = {
      {"PatienceSeconds", "5"}, {"LearnSeconds", "6"}, {"FillLevel", "none"}, {"loglevel", "debug"}};
  const auto loaded = load_settings({}, {{"policy", {number("PatienceSeconds", 7)}},
                                         {"preference", {number("LearnSeconds", 9)}},
                                         coordinator_layer(sent)});
  CHECK(loaded.problems.empty());
  CHECK(loaded.settings.patience == std::chrono::seconds(7));
  CHECK(loaded.settings.learn == std::chrono::seconds(9));
  CHECK(loaded.settings.fill == "none");
  CHECK(loaded.settings.log_level == "debug");
  CHECK(in_force(loaded, "PatienceSeconds").source == "policy");
  CHECK(in_force(loaded, "LearnSeconds").source == "preference");
  CHECK(in_force(loaded, "FillLevel").source == "coordinator");
  CHECK(in_force(loaded, "MaxLagSeconds").source == "default");
}

TEST_CASE("a hostile coordinator sets no programs, paths, addresses or identities, and no nonsense") {
  const auto before = load_settings({}, {}).in_force;
  for (const auto& each : settings::setting_table()) {
    if (each.from_coordinator) continue;
    INFO(each.name);
    for (const char* value : {"1", "D:", "C:\\evil.exe"}) {
      const auto loaded = load_settings({}, {coordinator_layer({{std::string(each.name), value}})});
      REQUIRE(loaded.problems.size() == 1);
      CHECK(loaded.problems[0].to_string() ==
            "coordinator\\" + std::string(each.name) + ": is not for a coordinator to set");
      for (std::size_t at = 0; at < before.size(); ++at) CHECK(loaded.in_force[at].value == before[at].value);
    }
  }
  for (const settings::SentSetting& wrong : {settings::SentSetting{"PatienceSeconds", "0"},
                                             {"PatienceSeconds", "x"},
                                             {"PatienceSeconds", ""},
                                             {"PatienceSeconds", "99999999999999999999"},
                                             {"FillLevel", "much"},
                                             {"FillLevel", "\xff\xfe"},
                                             {"Nonsense", "1"},
                                             {"", ""}}) {
    INFO(wrong.name, "=", wrong.value);
    const auto loaded = load_settings({}, {coordinator_layer({wrong})});
    CHECK(loaded.problems.size() == 1);
    for (std::size_t at = 0; at < before.size(); ++at) CHECK(loaded.in_force[at].value == before[at].value);
  }
}

TEST_CASE("the agent has a place for each setting of the table, in its order") {
  const auto known = load_settings({}, {}).in_force;
  REQUIRE(known.size() == settings::setting_table().size());
  for (std::size_t at = 0; at < known.size(); ++at)
    CHECK(known[at].name == settings::setting_table()[at].name);
}

TEST_CASE("names of settings are compared without regard to case, numbers may be of 64 bits") {
  ByteWriter data;
  data.le<std::uint64_t>(12);
  const auto loaded = load_settings({}, {{"policy", {{"patienceseconds", kLong, data.take()}}}});
  CHECK(loaded.problems.empty());
  CHECK(loaded.settings.patience == std::chrono::seconds(12));
}

TEST_CASE("values of any bytes are read or reported, and nothing else") {
  auto random = support::seeded_random();
  const auto known = load_settings({}, {}).in_force;
  for (int round = 0; round < 2000; ++round) {
    RegistryValue value;
    value.name = known[random() % known.size()].name;
    value.type = static_cast<std::uint32_t>(random() % 13);
    value.data.resize(random() % 20);
    for (auto& each : value.data) each = static_cast<std::byte>(random() % 3 == 0 ? 0 : random());
    const auto loaded = load_settings({}, {{"policy", {value}}});
    CHECK(loaded.problems.size() + (in_force(loaded, value.name).source == "policy" ? 1 : 0) == 1);
  }
}

TEST_CASE("the document lists the settings as they are") {
  AgentSettings defaults;
  defaults.identity_directory = "%ProgramData%\\Roamstead\\identity";
  defaults.state_directory = "%ProgramData%\\Roamstead\\state";
  defaults.log_directory = "%ProgramData%\\Roamstead\\log";
  CHECK(source_file("docs/agent.md").find(settings_table(defaults)) != std::string::npos);
}

TEST_CASE("requests are answered line by line until the other side closes") {
  Wire wire;
  wire.send("{\"op\":\"one\"}\n");
  int answered = 0;
  converse(
      wire.server,
      [&](const json& request) {
        return json{{"asked", request["op"]}};
      },
      [&] { return ++answered < 10; });
  CHECK(answered == 1);
  CHECK(wire.replies() == "{\"asked\":\"one\"}\n");
  CHECK(must(ask(wire.client, {{"op", "two"}}))["asked"] == "one");
}

TEST_CASE("what is no JSON object, or a line without end, is an answer or an end, never more") {
  for (const auto* line : {"[]\n", "nonsense\n", "\n", "{\"op\":\n"}) {
    Wire wire;
    wire.send(line);
    converse(
        wire.server, [](const json&) { return json::object(); }, [] { return true; });
    CHECK(json::parse(wire.replies())["error"]["code"] == "protocol");
  }
  Wire endless;
  endless.send(std::string((1 << 20) + 100, ' '));
  converse(
      endless.server, [](const json&) { return json::object(); }, [] { return true; });
  CHECK(endless.replies().empty());
}

TEST_CASE("an error that is answered is that error on the other side") {
  Wire wire;
  const auto described =
      describe_error(Error(ErrorCode::busy, "somebody is logged on").with("log-on")).dump() + "\n";
  for (const auto each : as_bytes(described)) wire.back.push_back(each);
  const auto refused = ask(wire.client, {{"op", "x"}});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::busy);
  CHECK(refused.error().message == "log-on: somebody is logged on");
  CHECK(ask(wire.client, {{"op", "x"}}).error().code == ErrorCode::unavailable);  // closed
  const auto wrong = answer_of([]() -> Result<json> { return json{{"a", 1}}.at("b"); });
  CHECK(wrong["error"]["code"] == "invalid-argument");
}

TEST_CASE("the log is put aside at its size, and the oldest goes") {
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  RotatingLog::Options options{directory / "log", "agent", 200, 3};
  {
    auto log = must(RotatingLog::open(files, options));
    for (int line = 0; line < 12; ++line)
      log->write(LogLevel::info, "line " + std::to_string(line) + "\nmore");
  }
  auto log = must(RotatingLog::open(files, options));  // goes on where it was
  log->write(LogLevel::error, "last");
  std::string all;
  for (int number = 2; number >= 0; --number) {
    const auto content = must(os::read_file(files, log->path(static_cast<std::uint64_t>(number)), 1000));
    CHECK(content.size() <= 200);
    all += as_text(content);
  }
  CHECK_FALSE(must(files.exists(log->path(3))));
  CHECK(all.find("line 0 ") == std::string::npos);
  const std::regex shape(
      "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z info line 11 more\n.*Z error last\n$");
  CHECK(std::regex_search(all, shape));
}

TEST_CASE("a log that cannot be put aside is begun anew, and does not grow") {
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  auto log = must(RotatingLog::open(files, {directory / "log", "agent", 100, 2}));
  must(files.make_directories(log->path(1) + "/obstacle"));
  for (int line = 0; line < 20; ++line) log->write(LogLevel::info, "line " + std::to_string(line));
  const auto content = must(os::read_file(files, log->path(), 1000));
  CHECK(content.size() <= 100);
  CHECK(as_text(content).find("line 19") != std::string::npos);
  must(files.make_directories(directory / "other/agent.log"));
  CHECK_FALSE(RotatingLog::open(files, {directory / "other"}).has_value());
}

TEST_CASE("the message table and the document have the events, each with its id, severity and text") {
  const auto table = source_file("agent/win/agent_events.mc"), document = source_file("docs/agent.md");
  std::set<int> ids;
  for (const auto& each : agent_events()) {
    INFO(each.name);
    const auto id = static_cast<int>(each.event);
    CHECK(ids.insert(id).second);
    constexpr const char* kSeverities[] = {"", "Informational", "Warning", "Error"};
    const auto severity = std::string(kSeverities[static_cast<int>(each.severity)]);
    CHECK(table.find("MessageId=" + std::to_string(id) + "\nSeverity=" + severity + "\nSymbolicName=" +
                     each.name + "\nLanguage=English\n" + each.meaning + " %1\n.\n") != std::string::npos);
    CHECK(document.find("| " + std::to_string(id) + " |") != std::string::npos);
    CHECK(document.find(each.meaning) != std::string::npos);
    CHECK(&describe_event(each.event) == &each);
  }
  std::size_t in_table = 0;
  for (auto at = table.find("MessageId="); at != std::string::npos; at = table.find("MessageId=", at + 1))
    ++in_table;
  CHECK(in_table == ids.size());
}

TEST_CASE("an image is judged by what was found, and what could not be found out is said") {
  ImageFacts facts;
  for (const auto& each : check_image(facts)) CHECK(each.level == FindingLevel::note);
  facts.fast_startup = facts.hibernation_file = facts.reboot_pending = facts.volume_dirty = facts.identity =
      false;
  facts.pending_renames = facts.left_of_sessions = facts.profiles = std::vector<std::string>();
  facts.san_policy = 1;
  facts.service = "stopped";
  for (const auto& each : check_image(facts)) CHECK(each.level == FindingLevel::good);
  const auto bad = [&](const ImageFacts& changed) {
    std::string names;
    for (const auto& each : check_image(changed))
      if (each.level == FindingLevel::bad) names += each.what + ";";
    return names;
  };
  auto changed = facts;
  changed.fast_startup = true;
  CHECK(bad(changed) == "fast startup;");
  changed = facts;
  changed.pending_renames = {"a", "b", "c", "d", "e", "f", "g"};
  CHECK(bad(changed) == "pending renames;");
  CHECK(check_image(changed)[2].text.find("a, b, c, d, e and 2 more") != std::string::npos);
  changed = facts;
  changed.identity = changed.volume_dirty = true;
  CHECK(bad(changed) == "volume;identity;");
  changed = facts;
  changed.service = "absent";
  CHECK(bad(changed) == "service;");
  changed = facts;
  changed.san_policy = 3;
  CHECK(bad(changed).empty());
}

// Wine enforces none of it: the text itself is what is tested here.
TEST_CASE("the control pipe lets the network do nothing, users no more than talk, and nobody else in") {
  const std::string pipe = kControlPipeSddl;
  const auto entries = pipe.substr(pipe.find("D:P"));
  CHECK(pipe.starts_with("O:SYG:SYD:P(D;;GA;;;NU)"));  // denied before anything is allowed
  CHECK(entries == "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;AU)");
  constexpr unsigned kCreateInstance = 0x4, kWriteDac = 0x40000, kWriteOwner = 0x80000, kDelete = 0x10000;
  CHECK((0x12019bU & (kCreateInstance | kWriteDac | kWriteOwner | kDelete)) == 0);
  CHECK(std::string(kFolderSddl) == "O:SYG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");
}

}  // namespace roamstead::agent
