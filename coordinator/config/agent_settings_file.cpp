#include "coordinator/config/agent_settings_file.h"

#include <map>

#include "common/base/nearest.h"
#include "coordinator/config/agent_settings_node.h"
#include "coordinator/config/ascii_toml.h"
#include "coordinator/config/units.h"

namespace roamstead::config {
namespace {

using settings::Setting;

std::string expected(const Setting& setting) {
  if (setting.type == Setting::Type::number)
    return "a whole number from " + std::to_string(setting.least) + " to " + std::to_string(setting.most);
  std::string all;
  for (const auto choice : setting.choices) all.append(all.empty() ? "\"" : ", \"").append(choice) += '"';
  return all.empty() ? "a text in quotes" : "one of " + all;
}

// "": not what it is to be.
std::string value_of(const Setting& setting, const toml::node& node) {
  std::string value;
  if (setting.type == Setting::Type::number) {
    if (!node.is_integer() || node.as_integer()->get() < 0) return "";
    value = std::to_string(node.as_integer()->get());
  } else {
    if (!node.is_string()) return "";
    value = node.as_string()->get();
  }
  return settings::check_sent({std::string(setting.name), value}) ? value : "";
}

tl::unexpected<Error> unknown(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& setting : settings::setting_table())
    if (setting.from_coordinator) known.emplace_back(setting.name);
  const auto near = nearest(name, known);
  return fail(ErrorCode::invalid_argument,
              "there is no setting '" + name + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

class SettingsReader {
 public:
  explicit SettingsReader(const std::string& source) : source_(source) {}

  Result<settings::SentSettings> read(std::string_view text) {
    if (text.size() > kMostSettingsFileBytes)
      return fail(ErrorCode::invalid_argument,
                  source_ + ": more than " + size_text(kMostSettingsFileBytes) + " of settings");
    RS_TRY(const auto ascii, ascii_toml(text, source_));
    const auto parsed = toml::parse(ascii, source_);
    if (!parsed) {
      note(parsed.error().source(), std::string(parsed.error().description()));
    } else {
      only_table(parsed.table(), "agent", [this](const toml::table& agent) {
        only_table(agent, "settings", [this](const toml::table& table) { take_all(table); });
      });
    }
    if (!problems_.empty()) return fail(ErrorCode::invalid_argument, problems_);
    settings::SentSettings sent;
    for (const auto& setting : settings::setting_table())
      if (const auto found = values_.find(setting.name); found != values_.end())
        sent.push_back({std::string(setting.name), found->second});
    return sent;
  }

 private:
  void note(const toml::source_region& where, const std::string& what) {
    if (++count_ > 20) return;  // enough to begin with
    problems_ +=
        (problems_.empty() ? "" : "\n") + source_ + ":" + std::to_string(where.begin.line) + ": " + what;
  }

  template <class Then>
  void only_table(const toml::table& table, std::string_view name, const Then& then) {
    for (const auto& [key, node] : table) {
      if (key.str() == name && node.is_table()) {
        then(*node.as_table());
      } else {
        note(key.source(), "'" + std::string(key.str()) +
                               "' is not known here: write settings below a line [agent.settings]");
      }
    }
  }

  void take_all(const toml::table& table) {
    for (const auto& [key, node] : table) {
      const auto read = read_agent_setting(std::string(key.str()), node);
      if (!read) {
        note(key.source(), read.error().message);
      } else if (!values_.emplace(read->name, read->value).second) {
        note(key.source(), "'" + read->name + "' is set twice");
      }
    }
  }

  const std::string& source_;
  std::map<std::string, std::string, std::less<>> values_;  // by the table's names
  std::string problems_;
  std::size_t count_ = 0;
};

}  // namespace

Result<settings::SentSetting> read_agent_setting(const std::string& name, const toml::node& value) {
  const auto* setting = settings::find_setting(name);
  if (setting == nullptr) return unknown(name);
  const std::string known(setting->name);
  if (!setting->from_coordinator)
    return fail(ErrorCode::invalid_argument,
                "'" + known + "' cannot be set from here: set it on the desktop, by group policy");
  auto text = value_of(*setting, value);
  if (text.empty())
    return fail(ErrorCode::invalid_argument, "'" + known + "' is to be " + expected(*setting));
  return settings::SentSetting{known, std::move(text)};
}

Result<settings::SentSettings> parse_agent_settings(std::string_view text, const std::string& source) {
  return SettingsReader(source).read(text);
}

}  // namespace roamstead::config
