#include "coordinator/config/text.h"

#include "coordinator/config/key_table.h"

namespace roamstead::config {
namespace {

std::string_view section_of(const Key& key) { return key.name.substr(0, key.name.find('.')); }
std::string_view name_in_section(const Key& key) { return key.name.substr(key.name.find('.') + 1); }

// Comments of at most this width; words are not cut.
std::string wrapped_comment(std::string_view text) {
  constexpr std::size_t kWidth = 96;
  std::string result;
  std::string line = "#";
  for (std::size_t at = 0; at < text.size();) {
    auto end = std::min(text.find(' ', at), text.size());
    if (line.size() + 1 + end - at > kWidth) {
      result += line + "\n";
      line = "#";
    }
    line += " " + std::string(text.substr(at, end - at));
    at = end + 1;
  }
  return result + line + "\n";
}

}  // namespace

std::string settings_text(const Loaded& loaded, bool all) {
  std::string text;
  std::string_view section;
  for (const auto& key : keys()) {
    auto origin = loaded.origin_of(key.name);
    if (!all && origin.file.empty()) continue;
    if (section != section_of(key)) {
      section = section_of(key);
      text += (text.empty() ? "[" : "\n[") + std::string(section) + "]\n";
    }
    text += std::string(name_in_section(key)) + " = " + toml_text(loaded.config, key) + "  # " +
            origin.to_string() + "\n";
  }
  return text;
}

std::string commented_file(const Config& values, const std::set<std::string, std::less<>>& set) {
  const Config defaults;
  std::string text =
      "# The coordinator's configuration: coordinator.toml(5). Files in conf.d beside this one are read "
      "after it,\n"
      "# in the order of their names; what comes later wins. To check: roamstead-coordinator --check-config\n"
      "# A line that begins with '#' shows what is so by default.\n";
  std::string_view section;
  for (const auto& key : keys()) {
    if (section != section_of(key)) {
      section = section_of(key);
      text += "\n[" + std::string(section) + "]\n";
    }
    text += wrapped_comment(std::string(key.description) + ".");
    bool is_set = set.count(key.name) != 0;
    text += (is_set ? "" : "#") + std::string(name_in_section(key)) + " = " +
            toml_text(is_set ? values : defaults, key) + "\n";
  }
  return text;
}

}  // namespace roamstead::config
