#include "coordinator/compose/edit.h"

#include <iterator>

#include "common/base/text.h"
#include "common/registry/format.h"

namespace roamstead::compose {
namespace {

void append_utf16(Bytes& bytes, std::string_view text) {
  // What is no WTF-8 has been refused where it came in; here it would only be an empty text.
  for (const auto unit : to_utf16(text).value_or(std::u16string())) {
    bytes.push_back(static_cast<std::byte>(unit & 0xff));
    bytes.push_back(static_cast<std::byte>(unit >> 8));
  }
}

}  // namespace

std::string_view to_string(HiveId hive) {
  switch (hive) {
    case HiveId::system:
      return "SYSTEM";
    case HiveId::software:
      return "SOFTWARE";
    case HiveId::security:
      return "SECURITY";
    case HiveId::sam:
      return "SAM";
    case HiveId::default_user:
      break;
  }
  return "DEFAULT-USER";
}

std::string_view path_of(HiveId hive) {
  switch (hive) {
    case HiveId::system:
      return "Windows/System32/config/SYSTEM";
    case HiveId::software:
      return "Windows/System32/config/SOFTWARE";
    case HiveId::security:
      return "Windows/System32/config/SECURITY";
    case HiveId::sam:
      return "Windows/System32/config/SAM";
    case HiveId::default_user:
      break;
  }
  return "Users/Default/NTUSER.DAT";
}

void Edits::append(Edits more) {
  std::move(more.registry.begin(), more.registry.end(), std::back_inserter(registry));
  std::move(more.files.begin(), more.files.end(), std::back_inserter(files));
}

Bytes registry_string(std::string_view text) {
  Bytes bytes;
  append_utf16(bytes, text);
  bytes.resize(bytes.size() + 2);
  return bytes;
}

Bytes registry_strings(const std::vector<std::string>& texts) {
  Bytes bytes;
  for (const auto& text : texts) {
    append_utf16(bytes, text);
    bytes.resize(bytes.size() + 2);
  }
  bytes.resize(bytes.size() + 2);
  return bytes;
}

Bytes registry_number(std::uint32_t number) {
  Bytes bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::byte>(number >> shift & 0xff));
  return bytes;
}

RegistryEdit set_data(HiveId hive, std::string key, std::string name, std::uint32_t type, Bytes data) {
  RegistryEdit edit;
  edit.hive = hive;
  edit.key = std::move(key);
  edit.name = std::move(name);
  edit.type = type;
  edit.data = std::move(data);
  return edit;
}

RegistryEdit set_string(HiveId hive, std::string key, std::string name, std::string_view text) {
  return set_data(hive, std::move(key), std::move(name),
                  static_cast<std::uint32_t>(registry::ValueType::string), registry_string(text));
}

RegistryEdit set_number(HiveId hive, std::string key, std::string name, std::uint32_t number) {
  return set_data(hive, std::move(key), std::move(name),
                  static_cast<std::uint32_t>(registry::ValueType::dword), registry_number(number));
}

RegistryEdit delete_value(HiveId hive, std::string key, std::string name) {
  auto edit = set_data(hive, std::move(key), std::move(name), 0, {});
  edit.action = RegistryEdit::Action::delete_value;
  return edit;
}

Result<std::pair<HiveId, std::string>> place_in_hives(const std::string& key,
                                                      const std::string& control_set) {
  const std::pair<const char*, HiveId> kRoots[] = {{"HKEY_LOCAL_MACHINE\\SYSTEM", HiveId::system},
                                                   {"HKEY_LOCAL_MACHINE\\SOFTWARE", HiveId::software},
                                                   {"HKEY_USERS\\.DEFAULT-USER", HiveId::default_user}};
  for (const auto& [root, hive] : kRoots) {
    const std::string prefix(root);
    if (!same_name(key.substr(0, prefix.size()), prefix)) continue;
    if (key.size() > prefix.size() && key[prefix.size()] != '\\') continue;
    auto rest = key.size() > prefix.size() ? key.substr(prefix.size() + 1) : "";
    const std::string current = "CurrentControlSet";
    if (hive == HiveId::system && same_name(rest.substr(0, current.size()), current) &&
        (rest.size() == current.size() || rest[current.size()] == '\\'))
      rest = control_set + rest.substr(current.size());
    return std::pair(hive, rest);
  }
  return fail(ErrorCode::invalid_argument,
              "'" + key +
                  "' is in none of HKEY_LOCAL_MACHINE\\SYSTEM, HKEY_LOCAL_MACHINE\\SOFTWARE and "
                  "HKEY_USERS\\.DEFAULT-USER (what new profiles begin with)");
}

}  // namespace roamstead::compose
