// Parts of a pool's specification that are about how its desktops are used: who is logged on, where profiles
// and their folders lie, policies.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/registry/reg_text.h"
#include "coordinator/join/secret.h"

namespace roamstead::compose {

class SpecTable;

// Somebody is logged on at the start without being asked: a kiosk.
struct LogonSpec {
  std::string user;
  std::string domain;                  // "" the desktop's own
  join::SecretBytes password;          // UTF-8
  std::optional<std::uint32_t> count;  // so many times; none: always
};

// What new profiles begin with: where one of the user's folders lies.
struct ShellFolder {
  std::string value;  // its name below User Shell Folders: "Personal"
  std::string path;   // "\\\\files\\home\\%USERNAME%\\Documents"
};

struct ProfilesSpec {
  std::string default_profile;  // the directory that new profiles are copied from; "" as in the image
  std::string public_profile;
  std::vector<ShellFolder> folders;
};

// As Group Policy would set it.
struct PolicyValue {
  bool of_user = false;  // below HKCU of new profiles, else HKLM
  std::string key;       // below Software\Policies
  std::string name;
  std::uint32_t type = 0;
  Bytes data;
};

// What Windows does with disks it sees for the first time (the value of SanPolicy).
enum class SanPolicy : std::uint32_t { online = 1, offline_shared = 2, offline = 3, offline_internal = 4 };

// Reading files that a specification names: their first line.
using ReadSecretLine = std::function<Result<join::SecretBytes>(const std::string& path)>;

// [logon], [[values]], [profiles] but its 'directory', [policy]. What is wrong is noted in the table.
void read_logon(SpecTable& table, const ReadSecretLine& read, std::optional<LogonSpec>& out);
void read_profiles(SpecTable& table, ProfilesSpec& out);
// One of [[values]]: a value of the registry, set or deleted.
void read_registry_value(SpecTable& table, std::vector<registry::RegChange>& out);
void read_policies(SpecTable& table, std::vector<PolicyValue>& out);
Result<SanPolicy> parse_san_policy(const std::string& text);

}  // namespace roamstead::compose
