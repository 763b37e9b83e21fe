#include "common/settings/setting_table.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::settings {
namespace {

constexpr std::uint64_t kDay_s = 86'400;
constexpr bool kSent = true;  // by coordinators

Setting text(std::string_view name, std::string_view meaning) { return {name, Setting::Type::text, meaning}; }
Setting texts(std::string_view name, std::string_view meaning) {
  return {name, Setting::Type::texts, meaning};
}
Setting choice(std::string_view name, std::vector<std::string_view> choices, std::string_view meaning,
               bool sent = false) {
  return {name, Setting::Type::text, meaning, 0, 0, std::move(choices), sent};
}
Setting number(std::string_view name, std::uint64_t least, std::uint64_t most, std::string_view meaning,
               bool sent = false) {
  return {name, Setting::Type::number, meaning, least, most, {}, sent};
}

}  // namespace

std::span<const Setting> setting_table() {
  static const std::vector<Setting> all = {
      text("Coordinator", "HOST:PORT, instead of what the identity says"),
      text("IdentityDirectory", "Folder of this desktop's certificate and key"),
      text("StateDirectory", "Folder of the change log and the map of clusters"),
      text("LogDirectory", "Folder of agent.log"),
      text("Drive", "The NTFS volume that profiles lie on"),
      text("ProfilesDirectory", "Folder of the profiles on it"),
      choice("Snapshots", {"command", "host", "scan", ""},
             "Who takes them: command, host or scan; empty: the command, or the host where there is none"),
      texts("FreezeCommand", "Freezes the disk: program and arguments, one a line"),
      texts("MergeCommand", "Merges two frozen layers; empty: somebody else does"),
      text("DiskTop", "The top of the disk's chain, as this machine sees it"),
      text("DiskBase", "The layer of the chain that stays, the clone's parent"),
      text("DiskFolderHere", "The folder of the layers as this machine sees it"),
      text("DiskFolderThere", "The same as the commands see it"),
      number("Partition", 0, 128, "Partition of the disk; 0: the first with NTFS"),
      choice("FillLevel", {"none", "metadata", "all"},
             "What is loaded in the background: none, metadata or all", kSent),
      number("FillMiBPerSecond", 0, 1 << 20, "How fast; 0: no limit", kSent),
      number("FillPauses", 0, 1,
             "1: loading in the background pauses while the machine is busy or saves its battery", kSent),
      number("SnapshotIntervalSeconds", 0, kDay_s, "Between snapshots; 0: only on request and at log-off",
             kSent),
      number("MaxLagSeconds", 0, kDay_s, "What was cut waits for a quiet moment at most so long", kSent),
      number("PatienceSeconds", 1, 3600, "A program waits so long while the coordinator is away", kSent),
      number("LearnSeconds", 0, 3600,
             "What programs touch in that time is sent ahead at the next log-on; 0: nothing is learnt",
             kSent),
      number("LogOffSeconds", 1, kDay_s, "A log-off may take so long", kSent),
      number("HiveSeconds", 0, 3600,
             "A log-off waits so long until Windows has let go of the user's registry", kSent),
      number("PrepareSeconds", 0, kDay_s,
             "A session opened ahead of a log-on waits so long for it; 0: none is opened", kSent),
      number("ReplaceLeftovers", 0, 1, "1: what lies at a profile's place may go, whatever it is"),
      number("Interception", 0, 1, "0: programs are not hooked, profiles are filled only", kSent),
      choice("CloudFiles", {"off", "auto", "on"},
             "Files on demand by Windows: off, auto (where it can be had) or on (missing is an event)"),
      texts("CloudFolders", "Folders of the profile that come so"),
      choice("LogLevel", {"debug", "info", "warning", "error"},
             "Least of what is logged: debug, info, warning or error", kSent),
      number("LogKiB", 16, 1 << 20, "Size at which agent.log is put aside"),
      number("LogFiles", 1, 100, "How many are kept, the present one with them"),
  };
  return all;
}

const Setting* find_setting(std::string_view name) {
  for (const auto& each : setting_table())
    if (same_name(each.name, name)) return &each;
  return nullptr;
}

Result<void> check_text(const Setting& setting, std::string_view text) {
  if (text.find('\0') != std::string_view::npos)
    return fail(ErrorCode::invalid_argument, "holds a zero character in its middle");
  if (setting.choices.empty() ||
      std::find(setting.choices.begin(), setting.choices.end(), text) != setting.choices.end())
    return {};
  std::string all;
  for (const auto choice : setting.choices)
    all.append(all.empty() ? "" : ", ").append(choice.empty() ? "nothing" : choice);
  return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is none of: " + all);
}

Result<void> check_number(const Setting& setting, std::uint64_t number) {
  if (number >= setting.least && number <= setting.most) return {};
  return fail(ErrorCode::invalid_argument, std::to_string(number) + " is not between " +
                                               std::to_string(setting.least) + " and " +
                                               std::to_string(setting.most));
}

}  // namespace roamstead::settings
