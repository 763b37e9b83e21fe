#include "agent/desktop/agent_settings.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "common/base/text.h"

namespace roamstead::agent {
namespace {

// Types of the registry ([MS-RRP] 2.2.9).
constexpr std::uint32_t kText = 1, kExpandableText = 2, kNumber = 4, kTexts = 7, kLongNumber = 11;
constexpr std::size_t kMostBytes = 64 << 10;  // of a value

// A setting: how its value gets into the settings and how it is shown.
struct Definition {
  const char* name;
  const char* type;
  const char* meaning;
  std::function<Result<void>(AgentSettings&, const RegistryValue&)> set;
  std::function<std::string(const AgentSettings&)> show;
};

Result<std::string> text_of(const RegistryValue& value) {
  if (value.type != kText && value.type != kExpandableText)
    return fail(ErrorCode::invalid_argument, "is to be a text (REG_SZ)");
  if (value.data.size() % 2 != 0)
    return fail(ErrorCode::invalid_argument, "is no text: an odd number of bytes");
  auto text = utf16le_to_wtf8(value.data);
  while (!text.empty() && text.back() == '\0') text.pop_back();  // stored with its end, or without
  if (text.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "holds a zero character in its middle");
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

Result<std::uint64_t> number_of(const RegistryValue& value, std::uint64_t least, std::uint64_t most) {
  std::uint64_t number = 0;
  if (value.type == kNumber && value.data.size() == 4) {
    number = load_le<std::uint32_t>(value.data, 0);
  } else if (value.type == kLongNumber && value.data.size() == 8) {
    number = load_le<std::uint64_t>(value.data, 0);
  } else {
    return fail(ErrorCode::invalid_argument, "is to be a number (REG_DWORD)");
  }
  if (number < least || number > most)
    return fail(ErrorCode::invalid_argument, std::to_string(number) + " is not between " +
                                                 std::to_string(least) + " and " + std::to_string(most));
  return number;
}

Definition text(const char* name, std::string AgentSettings::*member, const char* meaning,
                std::vector<std::string> choices = {}) {
  return {name, "REG_SZ", meaning,
          [member, choices = std::move(choices)](AgentSettings& settings,
                                                 const RegistryValue& value) -> Result<void> {
            RS_TRY(auto given, text_of(value));
            if (!choices.empty() && std::find(choices.begin(), choices.end(), given) == choices.end()) {
              std::string all;
              for (const auto& choice : choices) all += (all.empty() ? "" : ", ") + choice;
              return fail(ErrorCode::invalid_argument, "'" + given + "' is none of: " + all);
            }
            settings.*member = std::move(given);
            return {};
          },
          [member](const AgentSettings& settings) { return settings.*member; }};
}

Definition texts(const char* name, std::vector<std::string> AgentSettings::*member, const char* meaning) {
  return {name, "REG_MULTI_SZ", meaning,
          [member](AgentSettings& settings, const RegistryValue& value) -> Result<void> {
            RS_TRY(settings.*member, texts_of(value));
            return {};
          },
          [member](const AgentSettings& settings) {
            std::string all;
            for (const auto& each : settings.*member) all += (all.empty() ? "" : " ") + each;
            return all;
          }};
}

template <class Number>
Definition number(const char* name, Number AgentSettings::*member, std::uint64_t least, std::uint64_t most,
                  const char* meaning) {
  return {name, "REG_DWORD", meaning,
          [=](AgentSettings& settings, const RegistryValue& value) -> Result<void> {
            RS_TRY(const auto given, number_of(value, least, most));
            settings.*member = static_cast<Number>(given);
            return {};
          },
          [member](const AgentSettings& settings) { return std::to_string(settings.*member); }};
}

Definition seconds(const char* name, std::chrono::seconds AgentSettings::*member, std::uint64_t least,
                   std::uint64_t most, const char* meaning) {
  return {name, "REG_DWORD", meaning,
          [=](AgentSettings& settings, const RegistryValue& value) -> Result<void> {
            RS_TRY(const auto given, number_of(value, least, most));
            settings.*member = std::chrono::seconds(given);
            return {};
          },
          [member](const AgentSettings& settings) { return std::to_string((settings.*member).count()); }};
}

Definition drive(const char* name, std::string AgentSettings::*member, const char* meaning) {
  auto definition = text(name, member, meaning);
  definition.set = [member](AgentSettings& settings, const RegistryValue& value) -> Result<void> {
    RS_TRY(auto given, text_of(value));
    const bool letter = given.size() == 2 && given[1] == ':' &&
                        ((given[0] >= 'A' && given[0] <= 'Z') || (given[0] >= 'a' && given[0] <= 'z'));
    if (!letter) return fail(ErrorCode::invalid_argument, "'" + given + "' is not a drive such as C:");
    settings.*member = std::move(given);
    return {};
  };
  return definition;
}

const std::vector<Definition>& definitions() {
  using S = AgentSettings;
  constexpr std::uint64_t kDay_s = 86'400;
  static const std::vector<Definition> all = {
      text("Coordinator", &S::coordinator, "HOST:PORT, instead of what the identity says"),
      text("IdentityDirectory", &S::identity_directory, "Folder of this desktop's certificate and key"),
      text("StateDirectory", &S::state_directory, "Folder of the change log and the map of clusters"),
      text("LogDirectory", &S::log_directory, "Folder of agent.log"),
      drive("Drive", &S::drive, "The NTFS volume that profiles lie on"),
      text("ProfilesDirectory", &S::profiles_directory, "Folder of the profiles on it"),
      texts("FreezeCommand", &S::freeze_command,
            "Freezes the disk: program and arguments, one a line; empty: its host does"),
      texts("MergeCommand", &S::merge_command, "Merges two frozen layers; empty: somebody else does"),
      text("DiskTop", &S::disk_top, "The top of the disk's chain, as this machine sees it"),
      text("DiskBase", &S::disk_base, "The layer of the chain that stays, the clone's parent"),
      text("DiskFolderHere", &S::disk_here, "The folder of the layers as this machine sees it"),
      text("DiskFolderThere", &S::disk_there, "The same as the commands see it"),
      number("Partition", &S::partition, 0, 128, "Partition of the disk; 0: the first with NTFS"),
      text("FillLevel", &S::fill, "What is loaded in the background: none, metadata or all",
           {"none", "metadata", "all"}),
      number("FillMiBPerSecond", &S::fill_mib_per_second, 0, 1 << 20, "How fast; 0: no limit"),
      number("FillPauses", &S::fill_pauses, 0, 1,
             "1: loading in the background pauses while the machine is busy or saves its battery"),
      seconds("SnapshotIntervalSeconds", &S::snapshot_interval, 0, kDay_s,
              "Between snapshots; 0: only on request and at log-off"),
      seconds("MaxLagSeconds", &S::max_lag, 0, kDay_s,
              "What was cut waits for a quiet moment at most so long"),
      seconds("PatienceSeconds", &S::patience, 1, 3600,
              "A program waits so long while the coordinator is away"),
      seconds("LearnSeconds", &S::learn, 0, 3600,
              "What programs touch in that time is sent ahead at the next log-on; 0: nothing is learnt"),
      seconds("LogOffSeconds", &S::log_out_within, 1, kDay_s, "A log-off may take so long"),
      seconds("HiveSeconds", &S::hives_within, 0, 3600,
              "A log-off waits so long until Windows has let go of the user's registry"),
      seconds("PrepareSeconds", &S::prepare_for, 0, 86'400,
              "A session opened ahead of a log-on waits so long for it; 0: none is opened"),
      number("ReplaceLeftovers", &S::replace_leftovers, 0, 1,
             "1: what lies at a profile's place may go, whatever it is"),
      number("Interception", &S::interception, 0, 1, "0: programs are not hooked, profiles are filled only"),
      text("LogLevel", &S::log_level, "Least of what is logged: debug, info, warning or error",
           {"debug", "info", "warning", "error"}),
      number("LogKiB", &S::log_kib, 16, 1 << 20, "Size at which agent.log is put aside"),
      number("LogFiles", &S::log_files, 1, 100, "How many are kept, the present one with them"),
  };
  return all;
}

}  // namespace

LoadedSettings load_settings(const AgentSettings& defaults, const std::vector<SettingsLayer>& layers) {
  LoadedSettings loaded;
  loaded.settings = defaults;
  std::vector<std::string> sources(definitions().size(), "default");
  for (const auto& layer : layers) {
    for (const auto& value : layer.values) {
      const auto found =
          std::find_if(definitions().begin(), definitions().end(),
                       [&](const Definition& each) { return same_name(each.name, value.name); });
      if (found == definitions().end()) {
        loaded.problems.push_back({layer.source, value.name, "there is no such setting"});
        continue;
      }
      auto& source = sources[static_cast<std::size_t>(found - definitions().begin())];
      // Looked at although another one counts: who corrects that one shall not find the next error only then.
      AgentSettings tried = loaded.settings;
      const auto set = value.data.size() > kMostBytes ? fail(ErrorCode::invalid_argument, "is too long")
                                                      : found->set(tried, value);
      if (!set) {
        loaded.problems.push_back({layer.source, found->name, set.error().message});
      } else if (source == "default") {
        loaded.settings = std::move(tried);
        source = layer.source;
      }
    }
  }
  for (std::size_t at = 0; at < definitions().size(); ++at) {
    const auto& each = definitions()[at];
    loaded.in_force.push_back({each.name, each.show(loaded.settings), sources[at], each.meaning});
  }
  return loaded;
}

std::string settings_table(const AgentSettings& defaults) {
  std::string lines;
  for (const auto& each : definitions())
    lines += "| `" + std::string(each.name) + "` | " + each.type + " | " + each.show(defaults) + " | " +
             each.meaning + " |\n";
  return lines;
}

}  // namespace roamstead::agent
