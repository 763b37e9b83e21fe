#include "coordinator/compose/settings.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "common/base/text.h"
#include "common/registry/format.h"
#include "coordinator/compose/edit.h"
#include "coordinator/compose/refused.h"
#include "coordinator/compose/spec_reader.h"

namespace roamstead::compose {
namespace {

Result<void> take_text(std::string& out, const std::string& value) {
  if (value.empty() || !is_wtf8(value)) return refused("expected a text that is not empty");
  out = value;
  return {};
}

// Names that people know, and the values below User Shell Folders that Windows takes them from. Downloads has
// never had a name there, only its folder id.
constexpr std::pair<const char*, const char*> kFolders[] = {
    {"Desktop", "Desktop"},
    {"Documents", "Personal"},
    {"Downloads", "{374DE290-123F-4565-9164-39C4925E467B}"},
    {"Music", "My Music"},
    {"Pictures", "My Pictures"},
    {"Videos", "My Video"},
    {"Favorites", "Favorites"},
    {"AppData", "AppData"},
    {"Start Menu", "Start Menu"}};

// "C:\\x", "%USERPROFILE%\\x" or "\\\\server\\share\\x"
Result<void> check_folder_path(const std::string& path) {
  const bool drive = path.size() > 2 && path[1] == ':' && path[2] == '\\';
  if (!is_wtf8(path) || path.find('/') != std::string::npos || path.find_first_of("<>|?*\"") != path.npos)
    return refused("'" + path + "' cannot be a path on Windows");
  if (!drive && path.rfind("\\\\", 0) != 0 && path.rfind('%', 0) != 0)
    return refused("'" + path + "' is not a full path, such as D:\\\\Users or \\\\\\\\files\\\\home");
  return {};
}

// What a TOML value is in the registry, of a PolicyValue or a RegChange.
template <class Value>
Result<void> read_value(const toml::node& node, Value& value) {
  using registry::ValueType;
  const auto set = [&](ValueType type, Bytes data) {
    value.type = static_cast<std::uint32_t>(type);
    value.data = std::move(data);
  };
  if (const auto* flag = node.as_boolean()) {
    set(ValueType::dword, registry_number(flag->get() ? 1 : 0));
  } else if (const auto* number = node.as_integer()) {
    if (number->get() < 0 || number->get() > std::numeric_limits<std::uint32_t>::max())
      return refused("a number here is 0 to 4294967295");
    set(ValueType::dword, registry_number(static_cast<std::uint32_t>(number->get())));
  } else if (const auto* text = node.as_string()) {
    if (!is_wtf8(text->get())) return refused("not a text");
    set(ValueType::string, registry_string(text->get()));
  } else if (const auto* list = node.as_array(); list != nullptr && list->is_homogeneous<std::string>()) {
    std::vector<std::string> texts;
    for (const auto& each : *list) {
      texts.push_back(each.as_string()->get());
      if (texts.back().empty() || !is_wtf8(texts.back()))
        return refused("a list of texts that are not empty");
    }
    set(ValueType::multi_string, registry_strings(texts));
  } else {
    return refused("expected a number, true or false, a text or a list of texts");
  }
  return {};
}

// "de ad be ef", as REG_BINARY.
Result<Bytes> parse_bytes(const std::string& text) {
  Bytes bytes;
  std::string digits;
  for (const char c : text) {
    if (c == ' ' || c == ',') continue;
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0)
      return refused("'" + text + "' is not hexadecimal, such as de ad be ef");
    digits += c;
    if (digits.size() < 2) continue;
    bytes.push_back(static_cast<std::byte>(std::stoul(digits, nullptr, 16)));
    digits.clear();
  }
  if (!digits.empty()) return refused("'" + text + "' has half a byte at its end");
  return bytes;
}

// The types that do not follow from what kind of value TOML has.
Result<void> read_value_as(const std::string& type, const toml::node& node, registry::RegChange& change) {
  using registry::ValueType;
  if (type.empty()) return read_value(node, change);
  const auto* text = node.as_string();
  const auto* number = node.as_integer();
  if (type == "expand" && text != nullptr && is_wtf8(text->get())) {
    change.type = static_cast<std::uint32_t>(ValueType::expand_string);
    change.data = registry_string(text->get());
  } else if (type == "binary" && text != nullptr) {
    change.type = static_cast<std::uint32_t>(ValueType::binary);
    RS_TRY(change.data, parse_bytes(text->get()));
  } else if (type == "qword" && number != nullptr) {
    change.type = static_cast<std::uint32_t>(ValueType::qword);
    change.data.resize(sizeof(std::uint64_t));
    store_le<std::uint64_t>(change.data, 0, static_cast<std::uint64_t>(number->get()));
  } else {
    return refused("'" + type +
                   "' is not the type of such a value: a text may be expand or binary, a number qword");
  }
  return {};
}

void read_scope(SpecTable& table, bool of_user, std::vector<PolicyValue>& out) {
  table.every_table([&](const std::string& key, SpecTable& values) {
    if (key.empty() || key.front() == '\\' || key.back() == '\\' || key.find("\\\\") != key.npos ||
        key.rfind("HKEY_", 0) == 0)
      values.note("'" + key + "' is not a key below Software\\Policies, such as Microsoft\\Windows\\System");
    values.every_value([&](const std::string& name, const toml::node& node) -> Result<void> {
      PolicyValue value{of_user, key, name, 0, {}};
      RS_CHECK(read_value(node, value));
      out.push_back(std::move(value));
      return {};
    });
  });
}

}  // namespace

void read_logon(SpecTable& table, const ReadSecretLine& read, std::optional<LogonSpec>& out) {
  LogonSpec logon;
  std::uint64_t count = 0;
  table.require("user");
  table.require("password_file");
  table.text("user", [&](const std::string& value) -> Result<void> {
    if (value.find_first_of("\\/@") != value.npos)
      return refused("'" + value + "' has a domain in it: that goes into 'domain'");
    return take_text(logon.user, value);
  });
  table.text("domain", [&](const std::string& value) { return take_text(logon.domain, value); });
  table.text("password_file", [&](const std::string& value) -> Result<void> {
    RS_TRY(logon.password, read(value));
    return {};
  });
  table.number("count", 1, 1'000'000, count);
  if (count != 0) logon.count = static_cast<std::uint32_t>(count);
  out = std::move(logon);
}

void read_profiles(SpecTable& table, ProfilesSpec& out) {
  const auto path = [](std::string& into) {
    return [&into](const std::string& value) -> Result<void> {
      RS_CHECK(check_folder_path(value));
      into = value;
      return {};
    };
  };
  table.text("default", path(out.default_profile));
  table.text("public", path(out.public_profile));
  table.table("folders", [&](SpecTable& folders) {
    folders.every_text([&](const std::string& name, const std::string& value) -> Result<void> {
      RS_CHECK(check_folder_path(value));
      for (const auto& [known, registry_name] : kFolders)
        if (same_name(name, known)) {
          out.folders.push_back({registry_name, value});
          return {};
        }
      std::string all;
      for (const auto& [known, registry_name] : kFolders)
        all += (all.empty() ? "" : ", ") + std::string(known);
      return refused("none of the folders " + all);
    });
  });
}

void read_registry_value(SpecTable& table, std::vector<registry::RegChange>& out) {
  using Kind = registry::RegChange::Kind;
  registry::RegChange change;
  change.kind = Kind::set_value;
  std::string type;
  bool gone = false;
  table.require("key");
  table.text("key", [&](const std::string& value) -> Result<void> {
    RS_TRY(const auto place, place_in_hives(value, "CurrentControlSet"));
    if (place.second.empty()) return refused("'" + value + "' is a whole hive");
    return take_text(change.key, value);
  });
  table.text("name", [&](const std::string& value) -> Result<void> {
    if (!is_wtf8(value)) return refused("not a text");
    change.value_name = value;  // "" the default value
    return {};
  });
  table.text("type", [&](const std::string& value) { return take_text(type, value); });
  table.flag("delete", gone);
  if (gone) {
    change.kind = Kind::delete_value;
    for (const char* key : {"value", "type"})
      if (table.has(key)) table.note_at(key, "does not go with 'delete'");
  } else {
    table.require("value");
  }
  table.value("value", [&](const toml::node& node) {
    return gone ? Result<void>() : read_value_as(type, node, change);
  });
  out.push_back(std::move(change));
}

void read_policies(SpecTable& table, std::vector<PolicyValue>& out) {
  table.table("machine", [&](SpecTable& scope) { read_scope(scope, false, out); });
  table.table("user", [&](SpecTable& scope) { read_scope(scope, true, out); });
}

Result<SanPolicy> parse_san_policy(const std::string& text) {
  constexpr std::pair<const char*, SanPolicy> kPolicies[] = {
      {"online", SanPolicy::online},
      {"offline-shared", SanPolicy::offline_shared},
      {"offline", SanPolicy::offline},
      {"offline-internal", SanPolicy::offline_internal}};
  for (const auto& [word, policy] : kPolicies)
    if (text == word) return policy;
  return refused("'" + text + "' is none of online, offline-shared, offline, offline-internal");
}

}  // namespace roamstead::compose
