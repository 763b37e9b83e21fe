// What rules do to batches; random ones are in extract_model_test.cpp.
#include <doctest/doctest.h>

#include "common/extract/hive_changes.h"
#include "common/extract/selection.h"
#include "common/extract/test_agent.h"
#include "common/extract/test_hives.h"

namespace roamstead::extract {
namespace {

using profile::Rule;
using profile::RuleAction;

Bytes bytes_of(std::string_view text) {
  return to_bytes(ByteView(reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

// A desktop with a session of a profile: in/a, in/b, out/x, late/m, late/n.
struct Ruled {
  explicit Ruled(std::vector<Rule> all) : base(make_base()), agent(desktop, base), tree(base) {
    rules = profile::Rules::make(std::move(all)).value();
    desktop.volume().write("ProgramData/Roamstead/rules", 0, bytes_of(rules.canonical()));
  }
  static TestTree make_base() {
    TestTree made;
    for (auto path : {"in/a", "in/b", "out/x", "late/m", "late/n"}) {
      if (made.find(std::string(path).substr(0, std::string(path).find('/'))) == nullptr)
        made.make_directory(std::string(path).substr(0, std::string(path).find('/')));
      made.make_file(path, bytes_of(std::string("what was in ") + path));
    }
    made.settle();
    return made;
  }
  void log_out() {
    desktop.volume().write("ProgramData/Roamstead/log-out", 0, bytes_of(logout_marker(agent.session())));
  }
  profile::Batch next() {
    agent.flush_tags();
    const auto frozen = desktop.freeze();
    Request request;
    request.frozen_path = frozen.frozen_path;
    request.below_id = below;
    auto extraction = desktop.extract(request);
    below = frozen.frozen_id;
    tree.apply(extraction->batch(), extraction->content());
    return extraction->batch();
  }
  std::string content(const std::string& path) {
    const auto* node = tree.find(path);
    if (node == nullptr) return "(none)";
    const auto& bytes = node->streams.at("");
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  TestTree base;
  TestDesktop desktop;
  TestAgent agent;
  TestTree tree;
  profile::Rules rules;
  Guid below;
};

Rule rule(RuleAction action, const char* pattern) { return {action, pattern, {}, profile::kAnySize, ""}; }

TEST_CASE("what is excluded is not saved, and what the version has of it stays") {
  if (!support::can_format_ntfs()) return;
  for (const auto action : {RuleAction::exclude, RuleAction::local_only}) {
    Ruled ruled({rule(action, "out")});
    ruled.agent.write("out/x", "", 0, bytes_of("changed"));
    ruled.agent.write("out/new", "", 0, bytes_of("new"));
    ruled.agent.make_directory("out/folder");
    ruled.agent.write("in/a", "", 0, bytes_of("W"));
    CHECK(ruled.next().records.size() == 1);
    CHECK(ruled.content("in/a") == "What was in in/a");
    CHECK(ruled.content("out/x") == "what was in out/x");
    ruled.agent.remove("out/x");
    ruled.agent.remove("out/new");
    ruled.agent.remove("out/folder");
    ruled.agent.remove("out");
    CHECK(ruled.next().records.empty());
    CHECK(ruled.content("out/x") == "what was in out/x");
  }
}

TEST_CASE("what crosses a rule's border comes or goes whole") {
  if (!support::can_format_ntfs()) return;
  Ruled ruled({rule(RuleAction::exclude, "out")});
  ruled.agent.rename("out/x", "in/x");  // never loaded: the version still has its bytes
  ruled.agent.write("out/y", "", 0, bytes_of("made outside"));
  ruled.agent.load("in/b", "", 0, 100);
  ruled.agent.rename("in/b", "out/b");
  CHECK(ruled.next().held_back.empty());
  CHECK(ruled.content("in/x") == "what was in out/x");
  CHECK(ruled.content("in/b") == "(none)");
  ruled.agent.rename("out/y", "in/y");
  ruled.agent.rename("out/b", "in/b");
  CHECK(ruled.next().held_back.empty());
  CHECK(ruled.content("in/y") == "made outside");
  CHECK(ruled.content("in/b") == "what was in in/b");
}

TEST_CASE("a folder that is renamed to where other rules hold is looked through") {
  if (!support::can_format_ntfs()) return;
  Ruled ruled({rule(RuleAction::exclude, "in/cache")});
  ruled.agent.make_directory("in/cache");
  ruled.agent.make_directory("in/cache/deep");
  ruled.agent.write("in/cache/deep/x", "", 0, bytes_of("left out so far"));
  CHECK(ruled.next().records.empty());
  ruled.agent.rename("in", "elsewhere");
  ruled.next();
  CHECK(ruled.content("elsewhere/cache/deep/x") == "left out so far");
  CHECK(ruled.content("elsewhere/a") == "what was in in/a");
}

TEST_CASE("what is kept for log-out is saved then, as it is then") {
  if (!support::can_format_ntfs()) return;
  Ruled ruled({rule(RuleAction::at_logout, "late")});
  ruled.agent.write("late/m", "", 0, bytes_of("1"));
  ruled.agent.write("late/new", "", 0, bytes_of("new"));
  ruled.agent.remove("late/n");
  ruled.agent.write("in/a", "", 0, bytes_of("1"));
  CHECK(ruled.next().records.size() == 1);
  ruled.agent.write("late/m", "", 1, bytes_of("2"));
  CHECK(ruled.next().records.empty());
  CHECK(ruled.content("late/m") == "what was in late/m");
  ruled.log_out();
  ruled.next();
  CHECK(ruled.content("late/m") == "12at was in late/m");
  CHECK(ruled.content("late/new") == "new");
  CHECK(ruled.content("late/n") == "(none)");
  // The log-out failed, and the user went on: nothing waits any more.
  ruled.agent.write("late/m", "", 0, bytes_of("3"));
  ruled.agent.remove("late/new");
  CHECK(ruled.next().records.size() >= 2);
  CHECK(ruled.content("late/m") == "32at was in late/m");
  CHECK(ruled.content("late/new") == "(none)");
}

TEST_CASE("a log-out marker of another session is none") {
  if (!support::can_format_ntfs()) return;
  Ruled ruled({rule(RuleAction::at_logout, "late")});
  ruled.desktop.volume().write("ProgramData/Roamstead/log-out", 0, bytes_of(logout_marker(Guid::random())));
  ruled.agent.write("late/m", "", 0, bytes_of("1"));
  CHECK(ruled.next().records.empty());
}

TEST_CASE("a file beyond its limit is held back by name, with the rule") {
  if (!support::can_format_ntfs()) return;
  auto limit = rule(RuleAction::max_size, "in/**");
  limit.most_bytes = 1000;
  Ruled ruled({limit});
  ruled.agent.write("in/large", "", 0, Bytes(5000, std::byte{1}));
  ruled.agent.write("in/small", "", 0, Bytes(1000, std::byte{1}));
  ruled.agent.write("in/a", "", 0, Bytes(3000, std::byte{2}));
  auto batch = ruled.next();
  REQUIRE(batch.held_back.size() == 2);
  CHECK(batch.held_back[1].path == "in/large");
  CHECK(batch.held_back[1].reason.find("rule 1, max-size in/**") != std::string::npos);
  CHECK(ruled.content("in/a") == "what was in in/a");
  CHECK(ruled.content("in/small").size() == 1000);
  CHECK(ruled.content("in/large") == "(none)");
  ruled.agent.truncate("in/large", "", 500);
  ruled.agent.truncate("in/a", "", 3);
  CHECK(ruled.next().held_back.empty());
  CHECK(ruled.content("in/large") == std::string(500, '\1'));
  CHECK(ruled.content("in/a") == std::string(3, '\2'));
}

// The records that a hive makes by these rules, in words.
std::string changes(const registry::Hive& now, const registry::Hive* before, const Selection& selection,
                    bool waited) {
  HiveComparison comparison;
  comparison.hive = profile::hive_paths().front();
  comparison.now = &now;
  comparison.before = before;
  comparison.above_root = Knowledge::exact;
  comparison.selection = &selection;
  comparison.waited = waited;
  const auto records = changes_of(comparison).value();
  std::string text;
  for (const auto& gone : records.deletes) text += "delete " + gone.key.text() + "\n";
  for (const auto& put : records.puts) {
    if (put.key.is_root()) continue;
    text += "put " + put.key.text();
    for (const auto& value : put.values) text += " " + value.name;
    for (const auto& value : put.deleted_values) text += " -" + value;
    text += "\n";
  }
  return text;
}

registry::Editor hive_with(const std::vector<std::pair<std::string, std::u16string>>& values) {
  auto editor = registry::Editor::open(empty_live_hive(), "hive").value();
  for (const auto& [key, value] : values) {
    const auto cell = editor.create_path(editor.hive().root().value().cell, key).value();
    REQUIRE(editor.set_value(cell, value, 3, Bytes(4, std::byte{7})));
  }
  return editor;
}

TEST_CASE("keys and values that rules leave out are in no batch, changed or deleted") {
  auto value = rule(RuleAction::exclude, "HKCU\\Kept");
  value.value = "last*";
  const Selection selection(profile::Rules::make({rule(RuleAction::exclude, "HKCU\\Gone"),
                                                  rule(RuleAction::include, "HKCU\\Gone\\But"), value})
                                .value(),
                            true);
  const auto before = hive_with({{"Kept", u"LastRun"}, {"Kept", u"old"}, {"Gone\\x", u"v"}});
  const auto now = hive_with({{"Kept", u"a"}, {"Kept", u"LastFile"}, {"Gone\\y", u"v"}, {"Gone\\But", u"v"}});
  CHECK(changes(now.hive(), nullptr, selection, false) == "put Gone\nput Gone\\But v\nput Kept a\n");
  CHECK(changes(now.hive(), &before.hive(), selection, false) == "put Gone\\But v\nput Kept a -old\n");
}

TEST_CASE("keys that are kept for log-out are sent whole then") {
  const auto rules = profile::Rules::make({rule(RuleAction::at_logout, "HKCU\\Late")}).value();
  const auto before = hive_with({{"Late\\x", u"v"}, {"Other", u"a"}});
  const auto now = hive_with({{"Late\\x", u"v"}, {"Late\\x", u"w"}, {"Other", u"a"}});
  CHECK(changes(now.hive(), &before.hive(), Selection(rules, false), false).empty());
  CHECK(changes(now.hive(), &before.hive(), Selection(rules, true), true) == "put Late\nput Late\\x v w\n");
  CHECK(changes(now.hive(), &before.hive(), Selection(rules, true), false) == "put Late\\x w\n");
}

TEST_CASE("rules that cannot be understood stop the extraction, and nothing is saved against them") {
  if (!support::can_format_ntfs()) return;
  Ruled ruled({rule(RuleAction::exclude, "out")});
  ruled.desktop.volume().write("ProgramData/Roamstead/rules", 0, bytes_of("r0"));
  const auto frozen = ruled.desktop.freeze();
  Request request;
  request.frozen_path = frozen.frozen_path;
  const auto extraction = extract(os::real_file_system(), request);
  REQUIRE_FALSE(extraction);
  CHECK(extraction.error().code == ErrorCode::corrupt);
  CHECK(extraction.error().to_string().find("ProgramData/Roamstead/rules") != std::string::npos);
}

}  // namespace
}  // namespace roamstead::extract
