// The settings of the agent on Windows: values of registry keys, policy before preference before what the
// coordinator sends before default. What is unknown or ill-typed is reported and left out, never fatal: a
// desktop with a wrong value in its policy still logs its users on. Names, types and ranges stand in
// common/settings/setting_table.h; docs/agent.md lists them from there.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/settings/sent_settings.h"

namespace roamstead::agent {

struct AgentSettings {
  std::string coordinator;         // HOST:PORT; "": what the identity says
  std::string identity_directory;  // the folders' defaults are the caller's
  std::string state_directory;
  std::string log_directory;
  std::string drive = "C:";
  std::string profiles_directory = "Users";  // on the drive
  std::string snapshots;  // "command", "host", "scan"; "": the first two, by whether there is a command
  std::vector<std::string> freeze_command, merge_command;
  std::string disk_top, disk_base;    // of the chain of layers
  std::string disk_here, disk_there;  // one folder under two names
  std::uint32_t partition = 0;
  std::string fill = "all";
  std::uint64_t fill_mib_per_second = 0;
  bool fill_pauses = true;  // while the machine is busy
  std::chrono::seconds snapshot_interval{60}, max_lag{30}, patience{20}, learn{60};
  std::chrono::seconds log_out_within{600}, hives_within{30};
  std::chrono::seconds prepare_for{600};  // 0: no session is opened ahead of a log-on
  bool replace_leftovers = false;
  bool interception = true;
  std::string cloud_files = "off";
  std::vector<std::string> cloud_folders = {"Desktop", "Documents", "Downloads",
                                            "Music",   "Pictures",  "Videos"};
  std::string log_level = "info";
  std::uint64_t log_kib = 1024;
  std::uint64_t log_files = 5;
};

// A value as the registry has it: its type (REG_SZ …) and bytes.
struct RegistryValue {
  std::string name;
  std::uint32_t type = 0;
  Bytes data;
};
// Values from one place. Earlier ones win.
struct SettingsLayer {
  std::string source;  // "HKLM\SOFTWARE\Policies\Roamstead\Agent"
  std::vector<RegistryValue> values;
  bool from_coordinator = false;  // then only what a coordinator may send counts
};
// What it sent, with kFromCoordinator as source. Names that it may not set are problems of load_settings.
SettingsLayer coordinator_layer(const settings::SentSettings& sent);
inline constexpr const char* kFromCoordinator = "coordinator";

struct SettingProblem {
  std::string source, name, message;
  std::string to_string() const { return source + "\\" + name + ": " + message; }
};

struct SettingInForce {
  std::string name, value, source, meaning;  // source "default"
};

struct LoadedSettings {
  AgentSettings settings;
  std::vector<SettingProblem> problems;
  std::vector<SettingInForce> in_force;  // all of them, in the order of the table
};

// `defaults`: with this machine's folders.
LoadedSettings load_settings(const AgentSettings& defaults, const std::vector<SettingsLayer>& layers);

// What this machine says, and what a coordinator's settings come after: so that they can change while the
// agent runs, and nothing else does.
struct LocalSettings {
  AgentSettings defaults;
  std::vector<SettingsLayer> layers;
  std::vector<SettingProblem> unread;  // what could not be read

  LoadedSettings with(const settings::SentSettings& sent) const;
};

// The table, as docs/agent.md has it: "| `FillLevel` | REG_SZ | all | sent | … |" lines.
std::string settings_table(const AgentSettings& defaults);

inline constexpr const char* kPolicyKey = "SOFTWARE\\Policies\\Roamstead\\Agent";
inline constexpr const char* kPreferenceKey = "SOFTWARE\\Roamstead\\Agent";

}  // namespace roamstead::agent
