#include "common/profile/rule.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/text.h"
#include "common/profile/glob.h"

namespace roamstead::profile {
namespace {

constexpr std::string_view kHive = "HKCU\\";

struct ActionName {
  RuleAction action;
  std::string_view name;
};
constexpr std::array<ActionName, 9> kActions{{
    {RuleAction::include, "include"},
    {RuleAction::exclude, "exclude"},
    {RuleAction::local_only, "local-only"},
    {RuleAction::at_logout, "at-logout"},
    {RuleAction::preload, "preload"},
    {RuleAction::background, "background"},
    {RuleAction::on_demand, "on-demand"},
    {RuleAction::max_size, "max-size"},
    {RuleAction::exclude_process, "exclude-process"},
}};

struct FolderName {
  std::string_view name, path;
};
// Variables of Windows, and names for folders that have none; where Windows puts them unless told otherwise.
constexpr std::array<FolderName, 12> kFolders{{
    {"USERPROFILE", ""},
    {"APPDATA", "AppData/Roaming"},
    {"LOCALAPPDATA", "AppData/Local"},
    {"LOCALAPPDATALOW", "AppData/LocalLow"},
    {"TEMP", "AppData/Local/Temp"},
    {"TMP", "AppData/Local/Temp"},
    {"DESKTOP", "Desktop"},
    {"DOCUMENTS", "Documents"},
    {"DOWNLOADS", "Downloads"},
    {"PICTURES", "Pictures"},
    {"STARTMENU", "AppData/Roaming/Microsoft/Windows/Start Menu"},
    {"INETCACHE", "AppData/Local/Microsoft/Windows/INetCache"},
}};

tl::unexpected<Error> bad_rule(std::string why) { return fail(ErrorCode::invalid_argument, std::move(why)); }

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = i;
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto corner = row[0]++;
    for (std::size_t k = 0; k < b.size(); ++k) {
      const auto best = std::min(
          {row[k + 1] + 1, row[k] + 1, corner + (same_name(a.substr(i, 1), b.substr(k, 1)) ? 0 : 1)});
      corner = row[k + 1];
      row[k + 1] = best;
    }
  }
  return row.back();
}

// "; did you mean …?", or nothing when none is near.
template <class List, class Name>
std::string suggestion(std::string_view text, const List& list, Name name, std::string_view around) {
  if (text.size() > 32) return "";
  std::string_view nearest;
  std::size_t least = 3;
  for (const auto& each : list)
    if (const auto steps = distance(text, name(each)); steps < least) least = steps, nearest = name(each);
  return nearest.empty()
             ? ""
             : "; did you mean " + std::string(around) + std::string(nearest) + std::string(around) + "?";
}

Result<std::string> expand_folders(std::string_view pattern) {
  if (pattern.empty() || pattern.front() != '%') {
    if (pattern.find('%') == std::string_view::npos) return std::string(pattern);
    // A '%' is a character of names too; only what looks like a folder's name in the midst is a mistake.
    const auto first = pattern.find('%');
    const auto second = pattern.find('%', first + 1);
    if (second == std::string_view::npos) return std::string(pattern);
    for (const auto& folder : kFolders)
      if (same_name(pattern.substr(first + 1, second - first - 1), folder.name))
        return bad_rule("%" + std::string(folder.name) + "% stands at the beginning of a pattern only");
    return std::string(pattern);
  }
  const auto end = pattern.find('%', 1);
  if (end == std::string_view::npos) return std::string(pattern);
  const auto name = pattern.substr(1, end - 1);
  for (const auto& folder : kFolders) {
    if (!same_name(name, folder.name)) continue;
    auto rest = pattern.substr(end + 1);
    if (!rest.empty() && rest.front() != '/')
      return bad_rule("after %" + std::string(folder.name) + "% comes a '/'");
    if (folder.path.empty() && !rest.empty()) rest.remove_prefix(1);
    return std::string(folder.path) + std::string(rest);
  }
  return bad_rule("no folder is known as %" + std::string(name) + "%" +
                  suggestion(
                      name, kFolders, [](const FolderName& each) { return each.name; }, "%"));
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find(separator, begin), text.size());
    names.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

Result<std::vector<std::string>> names_of(std::string_view pattern, char separator) {
  auto names = split(pattern, separator);
  if (names.size() > kMostPatternNames)
    return bad_rule("more than " + std::to_string(kMostPatternNames) + " names in one pattern");
  std::vector<std::string> result;
  for (auto& name : names) {
    if (name.empty()) return bad_rule("an empty name between two separators, or at an end");
    if (separator == '/' && (name == "." || name == ".."))
      return bad_rule("'" + name + "' is no name in a profile");
    if (name.find("**") != std::string::npos && name != "**")
      return bad_rule("'" + name + "': '**' stands for whole names only; within one '*' is enough");
    if (separator == '/' && name.find(':') != std::string::npos)
      return bad_rule("a ':' is in no name of a profile; patterns begin at its root, as in 'Documents/x'");
    if (name == "**" && !result.empty() && result.back() == "**") continue;
    result.push_back(std::move(name));
  }
  return result;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20; }

}  // namespace

std::string_view to_string(RuleAction action) {
  for (const auto& each : kActions)
    if (each.action == action) return each.name;
  return "unknown";
}

Result<RuleAction> parse_rule_action(std::string_view text) {
  std::string all;
  for (const auto& each : kActions) {
    if (each.name == text) return each.action;
    all += (all.empty() ? "" : ", ") + std::string(each.name);
  }
  return bad_rule("'" + std::string(text) + "' is nothing that a rule can do" +
                  suggestion(
                      text, kActions, [](const ActionName& each) { return each.name; }, "'") +
                  " There are: " + all);
}

Result<Rule> normalise_rule(Rule rule) {
  auto& pattern = rule.pattern;
  if (pattern.empty()) return bad_rule("an empty pattern");
  if (pattern.size() > kMostPatternBytes)
    return bad_rule("a pattern of more than " + std::to_string(kMostPatternBytes) + " bytes");
  if (!is_wtf8(pattern) || std::any_of(pattern.begin(), pattern.end(), is_control))
    return bad_rule("a pattern that is no text: control characters or no UTF-8");
  if (rule.value && (!is_wtf8(*rule.value) || rule.value->size() > kMostPatternBytes ||
                     std::any_of(rule.value->begin(), rule.value->end(), is_control)))
    return bad_rule("a name of values that is no text, or too long");
  if (rule.action == RuleAction::exclude_process) {
    if (rule.value) return bad_rule("'value' is of registry keys");
    if (pattern.find_first_of("/\\") != std::string::npos)
      return bad_rule("a process is named by its program file alone, as in 'backup.exe'");
    return rule;
  }
  const auto lead = pattern.substr(0, pattern.find_first_of("/\\"));
  const bool registry = same_name(lead, "HKCU") || same_name(lead, "HKEY_CURRENT_USER");
  for (const auto other : {"HKLM", "HKEY_LOCAL_MACHINE", "HKCR", "HKEY_CLASSES_ROOT", "HKU", "HKEY_USERS"})
    if (same_name(lead, other))
      return bad_rule("'" + lead + "' is not the user's: registry patterns begin with HKCU\\");
  if (registry) {
    if (lead.size() == pattern.size()) return bad_rule("a key is missing after " + lead + "\\");
    pattern = std::string(kHive) + pattern.substr(lead.size() + 1);
    if (rule.action == RuleAction::max_size) return bad_rule("'max-size' is about files, not about keys");
    if (rule.action == RuleAction::background || rule.action == RuleAction::on_demand)
      return bad_rule("keys are loaded when they are touched and in the background, whatever a rule says");
    if (rule.action == RuleAction::preload && pattern.find_first_of("*?[{") != std::string::npos)
      return bad_rule("a key to be preloaded is named without wildcards; all below it comes with it");
    if (rule.value && rule.action == RuleAction::at_logout)
      return bad_rule("values are kept for log-out with their key: such a rule has no 'value'");
    if (rule.value && rule.action >= RuleAction::preload)
      return bad_rule("values are loaded with their key: a rule about loading has no 'value'");
    RS_CHECK(names_of(std::string_view(pattern).substr(kHive.size()), '\\').map([](const auto&) {}));
    return rule;
  }
  if (rule.value) return bad_rule("'value' is of registry keys: the pattern would begin with HKCU\\");
  std::replace(pattern.begin(), pattern.end(), '\\', '/');
  RS_TRY(pattern, expand_folders(pattern));
  if (pattern.empty()) return bad_rule("a rule about the whole profile is written '**'");
  if (pattern.size() > 1 && pattern.back() == '/') pattern.pop_back();  // a folder, as people write them
  RS_CHECK(names_of(pattern, '/').map([](const auto&) {}));
  return rule;
}

Result<std::vector<std::vector<std::string>>> pattern_names(const Rule& rule) {
  const bool registry = rule.is_registry();
  const auto text =
      registry ? std::string_view(rule.pattern).substr(kHive.size()) : std::string_view(rule.pattern);
  RS_TRY(const auto patterns, expand_braces(text, kMostAlternatives));
  std::vector<std::vector<std::string>> all;
  for (const auto& pattern : patterns) {
    RS_TRY(auto names, names_of(pattern, registry ? '\\' : '/'));
    all.push_back(std::move(names));
  }
  return all;
}

std::string literal_folder(std::string_view pattern) {
  const auto wild = pattern.find_first_of("*?[{");
  if (wild == std::string_view::npos) return std::string(pattern);
  const auto slash = pattern.rfind('/', wild);
  return std::string(pattern.substr(0, slash == std::string_view::npos ? 0 : slash));
}

std::string canonical_line(const Rule& rule) {
  std::string line(to_string(rule.action));
  line += '\t' + rule.pattern;
  if (rule.value) line += '\t' + *rule.value;
  if (rule.action == RuleAction::max_size) line += '\t' + std::to_string(rule.most_bytes);
  return line + '\n';
}

Result<Rule> parse_canonical_line(std::string_view line) {
  const auto fields = split(line, '\t');
  if (fields.size() < 2) return bad_rule("an action, a tab and a pattern are expected");
  Rule rule;
  RS_TRY(rule.action, parse_rule_action(fields[0]));
  rule.pattern = fields[1];
  std::size_t used = 2;
  if (rule.action == RuleAction::max_size) {
    if (fields.size() != 3) return bad_rule("a size is missing");
    const auto& text = fields[2];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rule.most_bytes);
    if (error != std::errc() || end != text.data() + text.size())
      return bad_rule("'" + text + "' is no size in bytes");
    used = 3;
  } else if (fields.size() == 3) {
    rule.value = fields[2];
    used = 3;
  }
  if (fields.size() != used) return bad_rule("too many fields");
  return rule;
}

}  // namespace roamstead::profile
