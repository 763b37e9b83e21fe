#include "coordinator/cli/profile_hives.h"

#include <fmt/format.h>

#include "common/base/text.h"
#include "common/registry/value_text.h"
#include "coordinator/cli/value_json.h"

namespace roamstead::cli {
namespace {

using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::ProfilePath;
using profile::RegistryValue;
using repository::Tree;

constexpr std::size_t kPartBytes = 1u << 20;

bool is_hive(const Tree& tree, const ProfilePath& path) {
  auto entry = tree.lookup(path);
  return entry && entry->kind == profile::EntryKind::registry;
}

// The path as the version has it, whatever the case; none when there is no such entry.
Result<std::optional<ProfilePath>> in_any_case(const Tree& tree, const ProfilePath& wanted) {
  constexpr std::size_t kAtOnce = 1000;
  ProfilePath path;
  for (auto name : wanted.components()) {
    std::optional<std::string> found;
    std::string after;
    for (bool more = true; more && !found;) {
      auto children = tree.list(path, after, kAtOnce);
      if (!children) return std::optional<ProfilePath>();  // a file where a folder was looked for
      for (const auto& child : *children)
        if (same_name(child.name, name)) found = child.name;
      more = children->size() == kAtOnce;
      if (more) after = children->back().name;
    }
    if (!found) return std::optional<ProfilePath>();
    path = path.child(*found);
  }
  return std::optional<ProfilePath>(path);
}

}  // namespace

Result<std::vector<ProfilePath>> hives_of(const Tree& tree) {
  std::vector<ProfilePath> hives;
  for (const auto& each : profile::hive_paths()) {
    RS_TRY(auto path, in_any_case(tree, each));
    if (path && is_hive(tree, *path)) hives.push_back(std::move(*path));
  }
  return hives;
}

Result<ProfilePath> find_hive(const Tree& tree, const std::string& wanted) {
  if (auto path = ProfilePath::parse(wanted); path && is_hive(tree, *path)) return *path;
  RS_TRY(auto hives, hives_of(tree));
  std::string there;
  for (const auto& hive : hives) {
    if (same_name(hive.text(), wanted) || same_name(hive.name(), wanted)) return hive;
    there += (there.empty() ? " '" : ", '") + hive.text() + "'";
  }
  return fail(
      ErrorCode::not_found,
      fmt::format("version {} has no hive '{}'; {}", tree.version(), wanted,
                  there.empty() ? "it has none at all: profile import takes NTUSER.DAT and UsrClass.dat"
                                : "its hives are" + there));
}

Result<KeyPath> parse_key(std::string_view text) {
  while (text.starts_with('\\')) text.remove_prefix(1);
  while (text.ends_with('\\')) text.remove_suffix(1);
  return KeyPath::parse(text);
}

Result<void> visit_keys(const Tree& tree, const ProfilePath& hive, const KeyPath& key, KeyScope scope,
                        const std::function<Result<void>(const KeyState&)>& visit) {
  std::string cursor;
  do {
    RS_TRY(auto part, tree.keys(hive, key, scope, cursor, kPartBytes));
    for (const auto& state : part.keys) RS_CHECK(visit(state));
    cursor = std::move(part.next);
  } while (!cursor.empty());
  return {};
}

Result<Bytes> data_of(const Tree& tree, const ProfilePath& hive, const KeyPath& key,
                      const RegistryValue& value, std::uint64_t most_bytes) {
  if (value.is_inline()) return value.data;
  Bytes data(std::min(value.size_bytes, most_bytes));
  RS_CHECK(tree.read_value(hive, key, value.name, 0, data));
  return data;
}

std::string shown_name(const std::string& name) { return name.empty() ? "(default)" : name; }

Result<ShownValue> show(const Context& context, const Tree& tree, const ProfilePath& hive, const KeyPath& key,
                        const RegistryValue& value) {
  RS_TRY(auto data,
         data_of(tree, hive, key, value, context.json ? profile::kMaxValueBytes : 2 * kShownValueBytes));
  ShownValue shown{registry::value_text(value.type, data, kShownValueBytes), {}};
  if (context.json) shown.object = value_json(value.name, value.type, data);
  return shown;
}

}  // namespace roamstead::cli
