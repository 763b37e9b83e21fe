#include "agent/desktop/agent_settings.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <optional>

#include "common/base/text.h"

namespace roamstead::agent {
namespace {

// Types of the registry ([MS-RRP] 2.2.9).
constexpr std::uint32_t kText = 1, kExpandableText = 2, kNumber = 4, kTexts = 7, kLongNumber = 11;
constexpr std::size_t kMostBytes = 64 << 10;  // of a value

using settings::Setting;

// How a setting's value gets into the settings and how it is shown.
struct Definition {
  const Setting& about;
  std::function<Result<void>(AgentSettings&, const RegistryValue&)> set;
  std::function<std::string(const AgentSettings&)> show;
};

const Setting& about(const char* name) {
  const auto* found = settings::find_setting(name);
  assert(found != nullptr);  // of this program's own table
  return *found;
}

const char* registry_type(const Setting& setting) {
  switch (setting.type) {
    case Setting::Type::number:
      return "REG_DWORD";
    case Setting::Type::texts:
      return "REG_MULTI_SZ";
    default:
      return "REG_SZ";
  }
}

Result<std::string> text_of(const Setting& setting, const RegistryValue& value) {
  if (value.type != kText && value.type != kExpandableText)
    return fail(ErrorCode::invalid_argument, "is to be a text (REG_SZ)");
  if (value.data.size() % 2 != 0)
    return fail(ErrorCode::invalid_argument, "is no text: an odd number of bytes");
  auto text = utf16le_to_wtf8(value.data);
  while (!text.empty() && text.back() == '\0') text.pop_back();  // stored with its end, or without
  RS_CHECK(settings::check_text(setting, text));
  return text;
}

Result<std::vector<std::string>> texts_of(const RegistryValue& value) {
  if (value.type != kTexts)
    return fail(ErrorCode::invalid_argument, "is to be a list of texts (REG_MULTI_SZ)");
  if (value.data.size() % 2 != 0)
    return fail(ErrorCode::invalid_argument, "is no text: an odd number of bytes");
  std::vector<std::string> texts;
  const auto all = utf16le_to_wtf8(value.data);
  for (std::size_t at = 0; at < all.size();) {
    const auto end = std::min(all.find('\0', at), all.size());
    if (end == at) break;  // an empty text ends the list
    texts.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return texts;
}

Result<std::uint64_t> number_of(const Setting& setting, const RegistryValue& value) {
  std::uint64_t number = 0;
  if (value.type == kNumber && value.data.size() == 4) {
    number = load_le<std::uint32_t>(value.data, 0);
  } else if (value.type == kLongNumber && value.data.size() == 8) {
    number = load_le<std::uint64_t>(value.data, 0);
  } else {
    return fail(ErrorCode::invalid_argument, "is to be a number (REG_DWORD)");
  }
  RS_CHECK(settings::check_number(setting, number));
  return number;
}

Definition text(const char* name, std::string AgentSettings::*member) {
  const auto& setting = about(name);
  return {setting,
          [member, &setting](AgentSettings& into, const RegistryValue& value) -> Result<void> {
            RS_TRY(into.*member, text_of(setting, value));
            return {};
          },
          [member](const AgentSettings& from) { return from.*member; }};
}

Definition texts(const char* name, std::vector<std::string> AgentSettings::*member) {
  return {about(name),
          [member](AgentSettings& into, const RegistryValue& value) -> Result<void> {
            RS_TRY(into.*member, texts_of(value));
            return {};
          },
          [member](const AgentSettings& from) {
            std::string all;
            for (const auto& each : from.*member) all += (all.empty() ? "" : " ") + each;
            return all;
          }};
}

template <class Number>
Definition number(const char* name, Number AgentSettings::*member) {
  const auto& setting = about(name);
  return {setting,
          [member, &setting](AgentSettings& into, const RegistryValue& value) -> Result<void> {
            RS_TRY(const auto given, number_of(setting, value));
            into.*member = static_cast<Number>(given);
            return {};
          },
          [member](const AgentSettings& from) { return std::to_string(from.*member); }};
}

Definition seconds(const char* name, std::chrono::seconds AgentSettings::*member) {
  const auto& setting = about(name);
  return {setting,
          [member, &setting](AgentSettings& into, const RegistryValue& value) -> Result<void> {
            RS_TRY(const auto given, number_of(setting, value));
            into.*member = std::chrono::seconds(given);
            return {};
          },
          [member](const AgentSettings& from) { return std::to_string((from.*member).count()); }};
}

Definition drive(const char* name, std::string AgentSettings::*member) {
  auto definition = text(name, member);
  definition.set = [member, &setting = definition.about](AgentSettings& into,
                                                         const RegistryValue& value) -> Result<void> {
    RS_TRY(auto given, text_of(setting, value));
    const bool letter = given.size() == 2 && given[1] == ':' &&
                        ((given[0] >= 'A' && given[0] <= 'Z') || (given[0] >= 'a' && given[0] <= 'z'));
    if (!letter) return fail(ErrorCode::invalid_argument, "'" + given + "' is not a drive such as C:");
    into.*member = std::move(given);
    return {};
  };
  return definition;
}

// As many as settings::setting_table() has, in its order.
const std::vector<Definition>& definitions() {
  using S = AgentSettings;
  static const std::vector<Definition> all = {
      text("Coordinator", &S::coordinator),
      text("IdentityDirectory", &S::identity_directory),
      text("StateDirectory", &S::state_directory),
      text("LogDirectory", &S::log_directory),
      drive("Drive", &S::drive),
      text("ProfilesDirectory", &S::profiles_directory),
      text("Snapshots", &S::snapshots),
      texts("FreezeCommand", &S::freeze_command),
      texts("MergeCommand", &S::merge_command),
      text("DiskTop", &S::disk_top),
      text("DiskBase", &S::disk_base),
      text("DiskFolderHere", &S::disk_here),
      text("DiskFolderThere", &S::disk_there),
      number("Partition", &S::partition),
      text("FillLevel", &S::fill),
      number("FillMiBPerSecond", &S::fill_mib_per_second),
      number("FillPauses", &S::fill_pauses),
      seconds("SnapshotIntervalSeconds", &S::snapshot_interval),
      seconds("MaxLagSeconds", &S::max_lag),
      seconds("PatienceSeconds", &S::patience),
      seconds("LearnSeconds", &S::learn),
      seconds("LogOffSeconds", &S::log_out_within),
      seconds("HiveSeconds", &S::hives_within),
      seconds("PrepareSeconds", &S::prepare_for),
      number("ReplaceLeftovers", &S::replace_leftovers),
      number("Interception", &S::interception),
      text("CloudFiles", &S::cloud_files),
      texts("CloudFolders", &S::cloud_folders),
      text("LogLevel", &S::log_level),
      number("LogKiB", &S::log_kib),
      number("LogFiles", &S::log_files),
  };
  return all;
}

// As the registry would hold it.
RegistryValue registry_value(const settings::SentSetting& sent) {
  RegistryValue value{sent.name, kText, {}};
  const auto* setting = settings::find_setting(sent.name);
  ByteWriter data;
  if (const auto number = settings::parse_number(sent.value);
      number && setting != nullptr && setting->type == Setting::Type::number) {
    value.type = kLongNumber;
    data.le<std::uint64_t>(*number);
  } else if (const auto units = to_utf16(sent.value); units) {
    for (const auto unit : *units) data.le<std::uint16_t>(unit);
  } else {
    value.type = 0;  // no text at all
  }
  value.data = data.take();
  return value;
}

}  // namespace

SettingsLayer coordinator_layer(const settings::SentSettings& sent) {
  SettingsLayer layer;
  layer.source = kFromCoordinator;
  layer.from_coordinator = true;
  for (const auto& each : sent) layer.values.push_back(registry_value(each));
  return layer;
}

LoadedSettings load_settings(const AgentSettings& defaults, const std::vector<SettingsLayer>& layers) {
  LoadedSettings loaded;
  loaded.settings = defaults;
  std::vector<std::string> sources(definitions().size(), "default");
  for (const auto& layer : layers) {
    for (const auto& value : layer.values) {
      const auto found =
          std::find_if(definitions().begin(), definitions().end(),
                       [&](const Definition& each) { return same_name(each.about.name, value.name); });
      if (found == definitions().end()) {
        loaded.problems.push_back({layer.source, value.name, "there is no such setting"});
        continue;
      }
      if (layer.from_coordinator && !found->about.from_coordinator) {
        loaded.problems.push_back(
            {layer.source, std::string(found->about.name), "is not for a coordinator to set"});
        continue;
      }
      auto& source = sources[static_cast<std::size_t>(found - definitions().begin())];
      // Looked at although another one counts: who corrects that one shall not find the next error only then.
      AgentSettings tried = loaded.settings;
      const auto set = value.data.size() > kMostBytes ? fail(ErrorCode::invalid_argument, "is too long")
                                                      : found->set(tried, value);
      if (!set) {
        loaded.problems.push_back({layer.source, std::string(found->about.name), set.error().message});
      } else if (source == "default") {
        loaded.settings = std::move(tried);
        source = layer.source;
      }
    }
  }
  for (std::size_t at = 0; at < definitions().size(); ++at) {
    const auto& each = definitions()[at];
    loaded.in_force.push_back({std::string(each.about.name), each.show(loaded.settings), sources[at],
                               std::string(each.about.meaning)});
  }
  return loaded;
}

LoadedSettings LocalSettings::with(const settings::SentSettings& sent) const {
  auto all = layers;
  all.push_back(coordinator_layer(sent));
  auto loaded = load_settings(defaults, all);
  loaded.problems.insert(loaded.problems.begin(), unread.begin(), unread.end());
  return loaded;
}

std::string settings_table(const AgentSettings& defaults) {
  std::string lines;
  for (const auto& each : definitions())
    lines += "| `" + std::string(each.about.name) + "` | " + registry_type(each.about) + " | " +
             each.show(defaults) + " | " + (each.about.from_coordinator ? "sent" : "") + " | " +
             std::string(each.about.meaning) + " |\n";
  return lines;
}

}  // namespace roamstead::agent
