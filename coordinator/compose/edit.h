// What a customisation changes, as data: it can be shown before it is done, done to any hive or volume, and
// compared with what a disk then holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::compose {

// The hives of a Windows volume that customisation edits.
enum class HiveId : std::uint8_t { system, software, security, sam, default_user };
inline constexpr HiveId kHives[] = {HiveId::system, HiveId::software, HiveId::security, HiveId::sam,
                                    HiveId::default_user};
std::string_view to_string(HiveId hive);  // "SYSTEM" ... "DEFAULT-USER"
// Below the volume's root: "Windows/System32/config/SYSTEM", "Users/Default/NTUSER.DAT".
std::string_view path_of(HiveId hive);

// One change to one hive. Setting what is there already and deleting what is not changes nothing.
struct RegistryEdit {
  enum class Action : std::uint8_t { create_key, set_value, delete_value, delete_key };

  Action action = Action::set_value;
  HiveId hive = HiveId::system;
  // Below the hive's root, with the control set spelt out: "ControlSet001\\Services\\Netlogon". Made with all
  // its parents where it is missing.
  std::string key;
  std::string name;        // of the value; "" is the default value
  std::uint32_t type = 0;  // REG_…, also those beyond the named ones, which SAM and SECURITY use as numbers
  Bytes data;
  bool secret = false;  // the data is shown nowhere
  std::string unit;     // the edit that wants it: "computer-name"
};

// A file below the volume's root, made or replaced with all its directories.
struct FileEdit {
  std::string path;  // "ProgramData/Roamstead/identity.json"
  Bytes content;
  // SYSTEM and Administrators alone may read it; else it inherits its directory's security.
  bool secret = false;
  std::string unit;
};

struct Edits {
  std::vector<RegistryEdit> registry;
  std::vector<FileEdit> files;

  void append(Edits more);
};

// "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\..." as a hive and a key below its root.
// ErrorCode::invalid_argument for what is in none of the hives that an administrator's own edits may change.
Result<std::pair<HiveId, std::string>> place_in_hives(const std::string& key, const std::string& control_set);

// Of REG_SZ and REG_EXPAND_SZ: UTF-16LE with its ending NUL. The text must be WTF-8.
Bytes registry_string(std::string_view text);
Bytes registry_strings(const std::vector<std::string>& texts);  // REG_MULTI_SZ
Bytes registry_number(std::uint32_t number);                    // REG_DWORD

RegistryEdit set_string(HiveId hive, std::string key, std::string name, std::string_view text);
RegistryEdit set_number(HiveId hive, std::string key, std::string name, std::uint32_t number);
RegistryEdit set_data(HiveId hive, std::string key, std::string name, std::uint32_t type, Bytes data);
RegistryEdit delete_value(HiveId hive, std::string key, std::string name);

}  // namespace roamstead::compose
