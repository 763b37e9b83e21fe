#include "common/profile/registry.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "common/base/text.h"

namespace roamstead::profile {
namespace {

constexpr const char* kUserHive = "NTUSER.DAT";
constexpr const char* kClassesHive = "AppData/Local/Microsoft/Windows/UsrClass.dat";

std::string upcased_name(std::string_view name) { return to_wtf8(upcase_key(name)); }

bool starts_with(std::u16string_view text, std::u16string_view start) {
  return text.substr(0, start.size()) == start;
}
bool ends_with(std::u16string_view text, std::u16string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

Result<void> refuse(const ProfilePath& hive, const KeyPath& key, const std::string& why) {
  return fail(ErrorCode::invalid_argument, "key '" + key.text() + "' of '" + hive.text() + "' " + why);
}

Result<void> check_value(const PutKey& record, const RegistryValue& value) {
  RS_CHECK_CTX("key '" + record.key.text() + "'", check_value_name(value.name));
  const auto expected = value.is_inline() ? value.size_bytes : 0;
  if (value.size_bytes > kMaxValueBytes || value.data.size() != expected)
    return refuse(record.hive, record.key,
                  "has a value '" + value.name + "' of " + std::to_string(value.size_bytes) + " bytes with " +
                      std::to_string(value.data.size()) + " in the record, " + std::to_string(expected) +
                      " expected");
  return {};
}

}  // namespace

Result<void> check_key_name(std::string_view name) {
  if (name.empty()) return fail(ErrorCode::invalid_argument, "a registry key without a name");
  if (name.find('\\') != std::string_view::npos)
    return fail(ErrorCode::invalid_argument, "the key name '" + std::string(name) + "' holds a '\\'");
  RS_TRY_CTX(auto units, "key name '" + std::string(name) + "'", to_utf16(name));
  if (units.size() > kMaxKeyNameUnits)
    return fail(ErrorCode::invalid_argument,
                "the key name '" + std::string(name) + "' is longer than 255 UTF-16 units");
  return {};
}

Result<void> check_value_name(std::string_view name) {
  RS_TRY_CTX(auto units, "value name '" + std::string(name) + "'", to_utf16(name));
  if (units.size() > kMaxValueNameUnits)
    return fail(ErrorCode::invalid_argument,
                "a value name of " + std::to_string(units.size()) + " UTF-16 units, more than 16383");
  return {};
}

Result<KeyPath> KeyPath::parse(std::string_view text) {
  KeyPath path;
  path.text_ = std::string(text);
  if (text.empty()) return path;
  std::size_t depth = 0, start = 0;
  for (;;) {
    if (++depth > kMaxKeyDepth)
      return fail(ErrorCode::invalid_argument,
                  "a registry path of more than " + std::to_string(kMaxKeyDepth) + " keys");
    const auto end = text.find('\\', start);
    const auto part = text.substr(start, end == std::string_view::npos ? end : end - start);
    RS_CHECK(check_key_name(part));
    if (end == std::string_view::npos) return path;
    start = end + 1;
  }
}

void KeyPath::assign_checked(const std::string& text) {
  auto path = parse(text);
  if (!path) throw std::invalid_argument(path.error().to_string());
  *this = std::move(*path);
}

std::string_view KeyPath::name() const {
  const auto end = text_.rfind('\\');
  return end == std::string::npos ? std::string_view(text_) : std::string_view(text_).substr(end + 1);
}

KeyPath KeyPath::parent() const {
  KeyPath up;
  const auto end = text_.rfind('\\');
  if (end != std::string::npos) up.text_ = text_.substr(0, end);
  return up;
}

KeyPath KeyPath::child(std::string_view name) const {
  KeyPath down;
  down.text_.reserve(text_.size() + 1 + name.size());
  down.text_ = text_;
  if (!text_.empty()) down.text_ += '\\';
  down.text_ += name;
  return down;
}

std::vector<std::string_view> KeyPath::components() const {
  std::vector<std::string_view> parts;
  std::string_view rest = text_;
  while (!rest.empty()) {
    const auto end = rest.find('\\');
    parts.push_back(rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return parts;
}

std::size_t KeyPath::depth() const {
  return text_.empty() ? 0 : 1 + static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '\\'));
}

bool KeyPath::is_within(const KeyPath& other) const {
  if (other.text_.empty()) return true;
  return text_.rfind(other.text_, 0) == 0 &&
         (text_.size() == other.text_.size() || text_[other.text_.size()] == '\\');
}

std::string upcased(const KeyPath& path) { return upcased_name(path.text()); }

Result<void> check_record(const DeleteKey& record) {
  if (record.hive.is_root()) return refuse(record.hive, record.key, "is in no hive");
  if (record.key.is_root()) return refuse(record.hive, record.key, "is the root and cannot be deleted");
  return {};
}

Result<void> check_record(const PutKey& record) {
  if (record.hive.is_root()) return refuse(record.hive, record.key, "is in no hive");
  if (record.entry.security.size() > kMaxKeySecurityBytes)
    return refuse(record.hive, record.key,
                  "has a security descriptor of " + std::to_string(record.entry.security.size()) + " bytes");
  if (record.entry.class_name.size() > kMaxClassBytes)
    return refuse(record.hive, record.key,
                  "has a class name of " + std::to_string(record.entry.class_name.size()) + " bytes");
  std::set<std::string> names;
  for (const auto& value : record.values) {
    RS_CHECK(check_value(record, value));
    if (!names.insert(upcased_name(value.name)).second)
      return refuse(record.hive, record.key, "has two changes of the value '" + value.name + "'");
  }
  for (const auto& name : record.deleted_values) {
    RS_CHECK_CTX("key '" + record.key.text() + "'", check_value_name(name));
    if (!names.insert(upcased_name(name)).second)
      return refuse(record.hive, record.key, "has two changes of the value '" + name + "'");
  }
  return {};
}

HiveFile classify_hive_file(std::string_view path_in_profile) {
  const auto path = upcase_key(path_in_profile);
  for (const char* name : {kUserHive, kClassesHive}) {
    const auto hive = upcase_key(name);
    if (!starts_with(path, hive)) continue;
    const auto rest = std::u16string_view(path).substr(hive.size());
    if (rest.empty()) return HiveFile::hive;
    if (rest.find(u'/') != std::u16string_view::npos) continue;
    if (starts_with(rest, u".LOG")) return HiveFile::companion;
    if (rest.front() == u'{' && (ends_with(rest, u".BLF") || ends_with(rest, u".REGTRANS-MS")))
      return HiveFile::companion;
  }
  return HiveFile::none;
}

const std::vector<ProfilePath>& hive_paths() {
  static const std::vector<ProfilePath> paths{ProfilePath::parse(kUserHive).value(),
                                              ProfilePath::parse(kClassesHive).value()};
  return paths;
}

bool is_excluded_key(const ProfilePath& hive, const KeyPath& key) {
  // What describes one session on one machine. Windows makes these volatile, so that no hive should hold
  // them; one that was edited otherwise must not carry them elsewhere.
  static const std::vector<std::string> excluded = [] {
    std::vector<std::string> paths;
    for (const char* path : {"Volatile Environment", "SessionInformation",
                             "Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\SessionInfo"})
      paths.push_back(upcased_name(path));
    return paths;
  }();
  if (!same_name(hive.text(), kUserHive)) return false;
  const auto path = upcased(key);
  return std::any_of(excluded.begin(), excluded.end(), [&](const std::string& one) {
    return path.rfind(one, 0) == 0 && (path.size() == one.size() || path[one.size()] == '\\');
  });
}

}  // namespace roamstead::profile
