#include "common/profile/rules.h"

#include <doctest/doctest.h>

#include <chrono>

#include "common/base/text.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::profile;

static Rules rules_of(std::vector<Rule> rules) {
  auto made = Rules::make(std::move(rules));
  REQUIRE_MESSAGE(made, (made ? "" : made.error().to_string()));
  return std::move(*made);
}
static Rule rule(RuleAction action, std::string pattern) {
  return {action, std::move(pattern), {}, kAnySize, ""};
}
static Rule exclude(std::string pattern) { return rule(RuleAction::exclude, std::move(pattern)); }
static Rule include(std::string pattern) { return rule(RuleAction::include, std::move(pattern)); }
static std::string refusal(Rule one) {
  auto made = Rules::make({std::move(one)});
  return made ? "taken" : made.error().to_string();
}
static bool left_out(const Rules& rules, std::string_view path) { return rules.file(path).is_left_out(); }
static const ProfilePath& user_hive() { return hive_paths()[0]; }
static const ProfilePath& classes_hive() { return hive_paths()[1]; }
static KeyPath key(std::string_view text) { return KeyPath::parse(text).value(); }

TEST_CASE("a rule about a folder is about all in it, and not about its neighbours") {
  const auto rules = rules_of({exclude("%LOCALAPPDATA%\\Temp")});
  for (auto path : {"AppData/Local/Temp", "appdata/LOCAL/temp/a", "AppData/Local/Temp/a/b.txt"})
    CHECK(left_out(rules, path));
  for (auto path :
       {"", "AppData", "AppData/Local", "AppData/Local/Temporary", "Temp", "x/AppData/Local/Temp"})
    CHECK_FALSE(left_out(rules, path));
  const auto below = rules_of({exclude("Cache/**")});
  CHECK_FALSE(left_out(below, "Cache"));
  CHECK(left_out(below, "Cache/a"));
  CHECK(left_out(below, "Cache/a/b"));
}

TEST_CASE("the last rule that matches decides") {
  const auto rules =
      rules_of({exclude("AppData/Local"), include("AppData/Local/App/Settings"), exclude("**/*.tmp")});
  CHECK(left_out(rules, "AppData/Local/App/x"));
  CHECK_FALSE(left_out(rules, "AppData/Local/App/Settings/y/z"));
  CHECK(left_out(rules, "AppData/Local/App/Settings/y/z.TMP"));
  CHECK(rules.shows_folder("AppData/Local"));
  CHECK(rules.shows_folder("AppData/Local/App"));
  CHECK_FALSE(rules.shows_folder("AppData/Local/Other"));
  const auto reversed = rules_of({include("AppData/Local/App/Settings"), exclude("AppData/Local")});
  CHECK(left_out(reversed, "AppData/Local/App/Settings/y"));
  CHECK_FALSE(reversed.shows_folder("AppData/Local/App"));
}

TEST_CASE("a rule about size or loading leaves alone what others say of saving") {
  auto limit = rule(RuleAction::max_size, "**");
  limit.most_bytes = 100;
  const auto rules =
      rules_of({exclude("a"), limit, rule(RuleAction::on_demand, "a"), rule(RuleAction::preload, "a/b")});
  const auto verdict = rules.file("a/b/c");
  CHECK(verdict.saving == Saving::excluded);
  CHECK(verdict.loading == Loading::preload);
  CHECK(verdict.most_bytes == 100);
  CHECK(rules.file("a/x").loading == Loading::on_demand);
  CHECK(rules.preloads_below(""));
  CHECK_FALSE(rules.preloads_below("a/x"));
  CHECK(rules.loads_below("a"));
  CHECK_FALSE(rules.loads_below("a/x"));
}

TEST_CASE("wildcards mean what they mean elsewhere") {
  const auto rules = rules_of({exclude("**/~$*"), exclude("d/[a-c]?.{tmp,bak}"), exclude("e/[!a-z]*"),
                               exclude("p/**/q"), exclude("{4D36E967}"), exclude("f/[[]x")});
  CHECK(left_out(rules, "Documents/~$letter.docx"));
  CHECK(left_out(rules, "~$x"));
  CHECK(left_out(rules, "d/B1.TMP"));
  CHECK(left_out(rules, "d/c_.bak"));
  CHECK_FALSE(left_out(rules, "d/d1.tmp"));
  CHECK_FALSE(left_out(rules, "d/b12.tmp"));
  CHECK(left_out(rules, "e/1x"));
  CHECK_FALSE(left_out(rules, "e/Xx"));
  CHECK(left_out(rules, "p/q"));
  CHECK(left_out(rules, "p/a/b/q/r"));
  CHECK_FALSE(left_out(rules, "p/a/b"));
  CHECK(left_out(rules, "{4d36e967}/x"));
  CHECK(left_out(rules, "f/[x"));
  CHECK(left_out(rules_of({exclude("straße/ÄÖ")}), "STRAßE/äö"));
}

TEST_CASE("hives roam whatever is said of files") {
  const auto rules = rules_of({exclude("**"), exclude("**/*.DAT")});
  CHECK_FALSE(left_out(rules, "NTUSER.DAT"));
  CHECK_FALSE(left_out(rules, "AppData/Local/Microsoft/Windows/UsrClass.dat"));
  CHECK(rules.shows_folder("AppData/Local/Microsoft/Windows"));
  CHECK(left_out(rules, "other.dat"));
}

TEST_CASE("keys and values have rules by their names in HKCU") {
  auto value = exclude("HKEY_CURRENT_USER/Software\\App");
  value.pattern = "HKEY_CURRENT_USER\\Software\\App";
  value.value = "Last*";
  const auto rules = rules_of(
      {exclude("HKCU\\Software\\*\\Cache"), value, exclude("HKCU\\Software\\Classes\\Local Settings")});
  CHECK(rules.key(user_hive(), key("Software\\App\\cache\\x")).is_left_out());
  CHECK_FALSE(rules.key(user_hive(), key("Software\\Cache")).is_left_out());
  CHECK(rules.key(classes_hive(), key("Local Settings\\MuiCache")).is_left_out());
  CHECK_FALSE(rules.key(user_hive(), key("Local Settings")).is_left_out());
  CHECK(rules.value(user_hive(), key("Software\\App"), "LASTRUN").is_left_out());
  CHECK_FALSE(rules.value(user_hive(), key("Software\\App"), "Name").is_left_out());
  CHECK_FALSE(rules.value(user_hive(), key("Software\\App\\x"), "LastRun").is_left_out());
  CHECK(rules.shows_key(user_hive(), key("Software\\App")));
  CHECK_FALSE(rules.shows_key(user_hive(), key("Software\\App\\Cache")));
}

TEST_CASE("a key left out is shown when one of its values is not") {
  auto value = include("HKCU\\A\\B");
  value.value = "keep";
  const auto rules = rules_of({exclude("HKCU\\A"), value});
  CHECK(rules.shows_key(user_hive(), key("A\\B")));
  CHECK_FALSE(rules.shows_key(user_hive(), key("A\\C")));
  CHECK_FALSE(rules.value(user_hive(), key("A\\B"), "keep").is_left_out());
  CHECK(rules.value(user_hive(), key("A\\B"), "other").is_left_out());
}

TEST_CASE("processes are excluded by name") {
  const auto rules = rules_of({rule(RuleAction::exclude_process, "Backup*.exe")});
  CHECK(rules.process_excluded("BACKUP64.EXE"));
  CHECK_FALSE(rules.process_excluded("winword.exe"));
}

TEST_CASE("what cannot be meant is refused, and says what to write") {
  CHECK(refusal(exclude("%APPDTA%/x")).find("did you mean %APPDATA%?") != std::string::npos);
  CHECK(parse_rule_action("exlude").error().message.find("did you mean 'exclude'?") != std::string::npos);
  for (auto bad : {"", "/a", "a//b", "a/../b", "C:\\x", "a**", "[x", "{a,b", "HKLM\\Software", "HKCU",
                   "%USERPROFILE%", "[z-a]"})
    CHECK_MESSAGE(refusal(exclude(bad)) != "taken", bad);
  CHECK(refusal(rule(RuleAction::max_size, "HKCU\\A")) != "taken");
  CHECK(refusal(rule(RuleAction::exclude_process, "a/b.exe")) != "taken");
  CHECK(refusal(exclude("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}")) != "taken");
  CHECK(refusal(exclude(std::string(200, '{') + "a,b" + std::string(200, '}'))) ==
        "taken");  // 200 braces around two
}

TEST_CASE("the canonical form says the same again, and damage in it is found") {
  auto limit = rule(RuleAction::max_size, "Documents\\**");
  limit.most_bytes = 5;
  limit.reason = "because";
  auto value = exclude("HKCU\\Software\\App");
  value.value = "x";
  const auto rules = rules_of({exclude("%TEMP%"), limit, value, rule(RuleAction::exclude_process, "a.exe")});
  const auto again = Rules::parse(rules.canonical());
  REQUIRE(again);
  CHECK(again->canonical() == rules.canonical());
  CHECK(again->hash() == rules.hash());
  CHECK(rules.hash().size() == 64);
  CHECK(rules_of({}).canonical().empty());
  auto random = support::seeded_random();
  for (int round = 0; round < 3000; ++round) {
    auto damaged = rules.canonical();
    damaged[random() % damaged.size()] = static_cast<char>(random());
    (void)Rules::parse(damaged);
    (void)Rules::parse(std::string_view(rules.canonical()).substr(0, random() % rules.canonical().size()));
  }
  CHECK_FALSE(Rules::parse("roamstead-rules 2\n"));
  CHECK(Rules::parse("roamstead-rules 1\nexclude\ta/\n\n").error().to_string().find("line 3") !=
        std::string::npos);
}

// ---- against a model that knows no automaton

static bool model_class(std::u16string_view& pattern, char16_t unit) {
  pattern.remove_prefix(1);
  const bool negated = pattern.front() == u'!';
  if (negated) pattern.remove_prefix(1);
  bool in = false;
  for (bool first = true; first || pattern.front() != u']'; first = false) {
    auto low = pattern[0], high = low;
    if (pattern[1] == u'-' && pattern[2] != u']') high = pattern[2], pattern.remove_prefix(2);
    pattern.remove_prefix(1);
    in = in || (upcase(low) <= unit && unit <= upcase(high));
  }
  pattern.remove_prefix(1);
  return in != negated;
}

static bool model_name(std::u16string_view pattern, std::u16string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == u'*')
    return model_name(pattern.substr(1), name) || (!name.empty() && model_name(pattern, name.substr(1)));
  if (name.empty()) return false;
  if (pattern.front() == u'[') {
    auto rest = pattern;
    return model_class(rest, name.front()) && model_name(rest, name.substr(1));
  }
  if (pattern.front() != u'?' && upcase(pattern.front()) != name.front()) return false;
  return model_name(pattern.substr(1), name.substr(1));
}

using Names = std::vector<std::string>;

static Names model_split(const std::string& text) {
  Names names(1);
  for (char c : text) {
    if (c == '/')
      names.emplace_back();
    else
      names.back() += c;
  }
  return names;
}

static bool model_path(const Names& pattern, std::size_t at, const Names& path, std::size_t from) {
  if (at == pattern.size()) return true;  // and all below
  if (pattern[at] == "**" && at + 1 == pattern.size()) return from < path.size();
  if (pattern[at] == "**") {
    for (auto next = from; next <= path.size(); ++next)
      if (model_path(pattern, at + 1, path, next)) return true;
    return false;
  }
  return from < path.size() && model_name(to_utf16(pattern[at]).value(), upcase_key(path[from])) &&
         model_path(pattern, at + 1, path, from + 1);
}

template <class Random>
static std::string random_text(Random& random, const std::vector<std::string>& pieces, std::size_t most) {
  std::string text;
  for (auto i = 1 + random() % most; i > 0; --i) text += pieces[random() % pieces.size()];
  return text;
}

TEST_CASE("random rules decide as a naive reading of them does") {
  auto random = support::seeded_random();
  const std::vector<std::string> letters{"a", "b", "A", "c", "ü", "."};
  const std::vector<std::string> pieces{"a", "b", "C", "*", "?", "[ab]", "[!a]", "Ü", "."};
  std::size_t matched = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<Rule> all;
    for (auto count = random() % 12; count > 0; --count) {
      std::string pattern;
      for (auto names = 1 + random() % 4; names > 0; --names)
        pattern += (pattern.empty() ? "" : "/") +
                   (random() % 5 == 0 ? std::string("**") : random_text(random, pieces, 3));
      all.push_back(random() % 2 == 0 ? exclude(pattern) : include(pattern));
    }
    auto made = Rules::make(all);
    if (!made) continue;  // "." and the like
    for (int probe = 0; probe < 60; ++probe) {
      std::string path;
      for (auto names = 1 + random() % 5; names > 0; --names)
        path += (path.empty() ? "" : "/") + random_text(random, letters, 3);
      auto expected = kNoRule;
      for (std::size_t i = 0; i < all.size(); ++i)
        if (model_path(model_split(made->all()[i].pattern), 0, model_split(path), 0))
          expected = static_cast<RuleIndex>(i);
      INFO(path << "\n" << made->canonical());
      REQUIRE(made->file(path).saving_rule == expected);
      matched += expected != kNoRule ? 1 : 0;
      // What is saved is never in a folder that is not shown.
      if (!left_out(*made, path))
        for (auto slash = path.rfind('/'); slash != std::string::npos && slash > 0;
             slash = path.rfind('/', slash - 1))
          REQUIRE(made->shows_folder(path.substr(0, slash)));
    }
  }
  CHECK(matched > 1000);
}

TEST_CASE("100,000 paths against thousands of rules") {
  std::vector<Rule> all;
  for (int i = 0; i < 2500; ++i)
    all.push_back(exclude("AppData/Local/Vendor" + std::to_string(i) + "/*/Cache"));
  for (int i = 0; i < 400; ++i) all.push_back(include("**/*.ext" + std::to_string(i)));
  for (int i = 0; i < 100; ++i) all.push_back(exclude("Documents/*/tmp-" + std::to_string(i) + "-*.bak"));
  const auto rules = rules_of(all);
  std::vector<std::string> paths;
  for (int i = 0; i < 100'000; ++i)
    paths.push_back((i % 2 == 0 ? "AppData/Local/Vendor" + std::to_string(i % 5000) + "/Default/Cache/f_"
                                : "Documents/Project " + std::to_string(i % 300) + "/some/folder/file ") +
                    std::to_string(i) + ".ext" + std::to_string(i % 900));
  const auto start = std::chrono::steady_clock::now();
  std::size_t out = 0;
  for (const auto& path : paths) out += left_out(rules, path) ? 1 : 0;
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  MESSAGE(paths.size() << " paths against " << all.size() << " rules: " << seconds << " s");
  CHECK(out > 10'000);
  CHECK(seconds < 10);
}

TEST_CASE("thousands of rules and hostile patterns cost little") {
  std::vector<Rule> all;
  for (int i = 0; i < 5000; ++i)
    all.push_back(exclude("AppData/Local/Vendor" + std::to_string(i) + "/**/Cache*"));
  for (int i = 0; i < 1000; ++i) all.push_back(exclude("**/*.x" + std::to_string(i)));
  for (int i = 0; i < 200; ++i) all.push_back(exclude("**/*a*a*a*a*" + std::to_string(i) + "*b"));
  const auto rules = rules_of(all);
  const auto start = std::chrono::steady_clock::now();
  std::size_t out = 0;
  constexpr int kPaths = 5'000;
  for (int i = 0; i < kPaths; ++i)
    out += left_out(rules, "AppData/Local/Vendor" + std::to_string(i % 6000) + "/data/folder/Cache1/file" +
                               std::to_string(i))
               ? 1
               : 0;
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  MESSAGE(kPaths << " paths against " << all.size() << " rules: " << seconds << " s");
  CHECK(out == 5000);
  CHECK(seconds < 5);  // some 0.05 s where nothing else runs
  CHECK_FALSE(left_out(rules, std::string(255, 'a') + "/" + std::string(255, 'a')));
  std::vector<Rule> searched;
  for (int i = 0; i < 600; ++i) searched.push_back(exclude("*a" + std::to_string(i) + "*"));
  CHECK(Rules::make(searched).error().code == ErrorCode::unsupported);
}
