#include "coordinator/config/rules_file.h"

#include <doctest/doctest.h>

using namespace roamstead;
using namespace roamstead::config;

static std::string refusal(const std::string& text) {
  const auto parsed = parse_rules_file(text, "r.toml");
  return parsed ? "taken" : parsed.error().message;
}

TEST_CASE("rules are read in their order, and a list of patterns is as many rules") {
  const auto file = parse_rules_file(
      "defaults = true\n[[rule]]\nexclude = [\"a\", 'b\\c']\nreason = \"why\"\n"
      "[[rule]]\nmax-size = \"**\"\nsize = \"2GiB\"\n[[rule]]\nexclude = 'HKCU\\X'\nvalue = \"y*\"\n",
      "r.toml");
  REQUIRE(file);
  CHECK(file->defaults);
  REQUIRE(file->rules.size() == 4);
  CHECK(file->rules[1].pattern == "b\\c");
  CHECK(file->rules[1].reason == "why");
  CHECK(file->rules[2].most_bytes == std::uint64_t{2} << 30);
  CHECK(file->rules[3].value == "y*");
  CHECK(parse_rules_file("", "r.toml")->rules.empty());
}

TEST_CASE("mistakes are named with their line and what was probably meant") {
  CHECK(refusal("[[rule]]\nexlude = \"a\"\n").find("r.toml:2: 'exlude'") == 0);
  CHECK(refusal("[[rule]]\nexlude = \"a\"\n").find("did you mean 'exclude'?") != std::string::npos);
  CHECK(refusal("[[rule]]\nexclude = [\"a\",\n\"%TMEP%/x\"]\n").find("r.toml:3: ") == 0);
  CHECK(refusal("[[rule]]\nexclude = \"%LOCALAPDATA%/x\"\n").find("did you mean %LOCALAPPDATA%?") !=
        std::string::npos);
  CHECK(refusal("[[rule]]\nexclude = \"a\"\ninclude = \"b\"\n").find("one thing") != std::string::npos);
  CHECK(refusal("[[rule]]\nmax-size = \"a\"\n").find("needs a size") != std::string::npos);
  CHECK(refusal("[[rule]]\nmax-size = \"a\"\nsize = \"2GB\"\n").find("r.toml:3: size: ") == 0);
  CHECK(refusal("[[rule]]\nreason = \"a\"\n").find("does nothing") != std::string::npos);
  CHECK(refusal("rules = 1\n").find("r.toml:1: ") == 0);
  CHECK(refusal("[rule]\nexclude = \"a\"\n").find("[[rule]]") != std::string::npos);
  CHECK(refusal("[[rule\n").find("r.toml:1: ") == 0);
  CHECK(refusal("[[rule]]\nexclude = 1\n").find("a pattern") != std::string::npos);
}

TEST_CASE("every rule that ships has a reason, and leaves alone what people made") {
  REQUIRE(default_rules().size() > 20);
  for (const auto& rule : default_rules()) CHECK_MESSAGE(!rule.reason.empty(), rule.pattern);
  const auto rules = profile::Rules::make(default_rules()).value();
  for (auto path :
       {"AppData/Local/Temp/x.tmp", "AppData/Local/Google/Chrome/User Data/Default/Code Cache/js/1",
        "AppData/Local/Microsoft/Edge/User Data/Profile 1/Service Worker/CacheStorage/a",
        "AppData/Local/Microsoft/Windows/Explorer/thumbcache_256.db", "Documents/~$letter.docx",
        "AppData/Local/Packages/X_1/AC/Temp/y"})
    CHECK_MESSAGE(rules.file(path).is_left_out(), path);
  for (auto path : {"Documents/letter.docx", "AppData/Local/Google/Chrome/User Data/Default/Bookmarks",
                    "AppData/Local/Google/Chrome/User Data/Default/Network/Cookies", "Temp/x",
                    "AppData/Local", "AppData/Roaming/Mozilla/Firefox/Profiles/a.default/places.sqlite",
                    "AppData/Local/Packages/X_1/LocalState/settings.dat", "NTUSER.DAT"})
    CHECK_MESSAGE(!rules.file(path).is_left_out(), path);
  CHECK(rules.process_excluded("msmpeng.exe"));
}

TEST_CASE("a profile's rules have the last word over its pool's, and those over what ships") {
  const auto rules = effective_rules("defaults = true\n[[rule]]\nexclude = \"Downloads\"\n",
                                     "[[rule]]\ninclude = [\"Downloads/keep\", \"%TEMP%\"]\n");
  REQUIRE(rules);
  CHECK(rules->file("Downloads/x").is_left_out());
  CHECK_FALSE(rules->file("Downloads/keep/x").is_left_out());
  CHECK_FALSE(rules->file("AppData/Local/Temp/x").is_left_out());
  CHECK(effective_rules("", "")->empty());
}
