// roamstead profile registry …: the keys of any version of a profile.
#include <iostream>

#include <fmt/format.h>

#include "common/base/text.h"
#include "common/os/file.h"
#include "common/registry/compare.h"
#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"
#include "coordinator/cli/profile_version.h"
#include "coordinator/cli/value_json.h"
#include "coordinator/repository/hive_file.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::ProfilePath;
using profile::RegistryValue;
using registry::DifferenceKind;
using repository::Tree;

constexpr std::size_t kPartBytes = 1u << 20;
constexpr std::size_t kShownBytes = 64;  // of a value's data in a listing

struct Arguments {
  RepositoryChoice choice;
  std::string profile;  // NAME or NAME@VERSION
  std::string other;    // the second one of diff
  std::string hive;
  std::string key;
  std::string value;
  bool value_given = false;
  bool recursive = false;
  std::string output;
  std::string hive_output;
  std::string prefix;
};

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

Result<std::vector<ProfilePath>> hives_of(const Tree& tree) {
  std::vector<ProfilePath> hives;
  for (const auto& each : profile::hive_paths()) {
    RS_TRY(auto path, in_any_case(tree, each));
    if (path && is_hive(tree, *path)) hives.push_back(std::move(*path));
  }
  return hives;
}

// By its path in the profile, or its name alone, in any case.
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

// Keys are separated by '\' as in Windows; nobody is refused for a '\' too many at an end.
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

// The first bytes of a value's data, at most so many.
Result<Bytes> data_of(const Tree& tree, const ProfilePath& hive, const KeyPath& key,
                      const RegistryValue& value, std::uint64_t most_bytes) {
  if (value.is_inline()) return value.data;
  Bytes data(std::min(value.size_bytes, most_bytes));
  RS_CHECK(tree.read_value(hive, key, value.name, 0, data));
  return data;
}

std::string shown_name(const std::string& name) { return name.empty() ? "(default)" : name; }

// For a row of text the first bytes, for JSON all.
struct ShownValue {
  std::string text;
  json object;
};
Result<ShownValue> show(const Context& context, const Tree& tree, const ProfilePath& hive, const KeyPath& key,
                        const RegistryValue& value) {
  RS_TRY(auto data,
         data_of(tree, hive, key, value, context.json ? profile::kMaxValueBytes : 2 * kShownBytes));
  ShownValue shown{registry::value_text(value.type, data, kShownBytes), {}};
  if (context.json) shown.object = value_json(value.name, value.type, data);
  return shown;
}

Result<void> list_hives(const Context& context, const Tree& tree) {
  RS_TRY(auto hives, hives_of(tree));
  json all = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& hive : hives) {
    RS_TRY(auto entry, tree.lookup(hive));
    all.push_back({{"hive", hive.text()}, {"written", registry::time_text(entry.metadata.written_100ns)}});
    rows.push_back({seconds_text(entry.metadata.written_100ns), hive.text()});
  }
  context.print({{"hives", all}}, rows.empty() ? "no hives" : table(rows));
  return {};
}

Result<void> ls(const Context& context, const Arguments& arguments) {
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  if (arguments.hive.empty()) return list_hives(context, *open.tree);
  RS_TRY(auto hive, find_hive(*open.tree, arguments.hive));
  RS_TRY(auto key, parse_key(arguments.key));
  json keys = json::array(), values = json::array();
  std::vector<std::vector<std::string>> rows;
  std::size_t above = 0;  // bytes of paths that every line would begin with
  bool first = true;
  auto add = [&](const KeyState& state) -> Result<void> {
    if (first) above = state.path.is_root() ? 0 : state.path.text().size() + 1;
    const auto path = first ? "" : state.path.text().substr(above);
    if (!first) {
      keys.push_back({{"key", path}, {"written", registry::time_text(state.entry.written_100ns)}});
      rows.push_back({"key", "", path});
    }
    first = false;
    for (const auto& value : state.values) {
      RS_TRY(auto shown, show(context, *open.tree, hive, state.path, value));
      shown.object["key"] = path;
      values.push_back(std::move(shown.object));
      rows.push_back({registry::type_name(value.type), shown_name(value.name),
                      (path.empty() ? "" : path + "  ") + shown.text});
    }
    return {};
  };
  RS_CHECK(visit_keys(*open.tree, hive, key, arguments.recursive ? KeyScope::subtree : KeyScope::key, add));
  context.print({{"hive", hive.text()}, {"key", key.text()}, {"keys", keys}, {"values", values}},
                table(rows));
  return {};
}

Result<void> get_key(const Context& context, const Tree& tree, const ProfilePath& hive, const KeyPath& key) {
  std::optional<KeyState> found;
  std::uint64_t subkeys = 0;
  RS_CHECK(visit_keys(tree, hive, key, KeyScope::key, [&](const KeyState& state) -> Result<void> {
    if (found)
      ++subkeys;
    else
      found = state;
    return {};
  }));
  const auto& entry = found->entry;
  const auto name = std::string(found->path.name());
  const auto written = registry::time_text(entry.written_100ns);
  const auto class_name = utf16le_to_wtf8(entry.class_name);
  context.print({{"name", name},
                 {"written", written},
                 {"class", class_name},
                 {"subkeys", subkeys},
                 {"values", found->values.size()},
                 {"security", registry::hex_text(entry.security)}},
                table({{"name", name},
                       {"written", written},
                       {"class", class_name},
                       {"subkeys", std::to_string(subkeys)},
                       {"values", std::to_string(found->values.size())},
                       {"security", registry::hex_text(entry.security)}}));
  return {};
}

Result<void> get(const Context& context, const Arguments& arguments) {
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  RS_TRY(auto hive, find_hive(*open.tree, arguments.hive));
  RS_TRY(auto key, parse_key(arguments.key));
  if (!arguments.value_given) return get_key(context, *open.tree, hive, key);
  RS_TRY(auto part, open.tree->keys(hive, key, KeyScope::key, "", 1));  // one key comes whole
  for (const auto& value : part.keys.front().values) {
    if (!same_name(value.name, arguments.value)) continue;
    RS_TRY(auto data, data_of(*open.tree, hive, key, value, profile::kMaxValueBytes));
    auto object = value_json(value.name, value.type, data);
    object["hex"] = registry::hex_text(data);
    auto text = registry::value_text(value.type, data, data.size());
    if (static_cast<registry::ValueType>(value.type) == registry::ValueType::multi_string) {
      text.clear();
      for (const auto& each : registry::multi_string_texts(data)) text += each + "\n";
    }
    context.print(object, text);
    return {};
  }
  return fail(ErrorCode::not_found,
              fmt::format("key '{}' of '{}' in version {} has no value '{}'", key.text(), hive.text(),
                          open.tree->version(), arguments.value));
}

// Which hives two versions have between them, as the newer one names them.
Result<std::vector<ProfilePath>> hives_to_compare(const OpenTrees& open, const std::string& wanted) {
  std::vector<ProfilePath> hives;
  for (const auto* tree : {open.after.get(), open.before.get()}) {
    if (!wanted.empty()) {
      auto hive = find_hive(*tree, wanted);
      if (hive) return std::vector<ProfilePath>{*hive};
      if (tree == open.before.get()) return fail(std::move(hive).error());
      continue;
    }
    RS_TRY(auto found, hives_of(*tree));
    for (auto& hive : found)
      if (std::find(hives.begin(), hives.end(), hive) == hives.end()) hives.push_back(std::move(hive));
  }
  return hives;
}

// The lines of one hive's differences.
class KeyDiff {
 public:
  KeyDiff(const Context& context, const OpenTrees& open, const ProfilePath& hive)
      : context_(context), open_(open), hive_(hive) {}

  void add(const Tree::KeyDifference& difference) {
    if (!result) return;
    // What was below a key that is gone is not told one by one.
    const auto path = profile::upcased(difference.key);
    if (difference.change == Tree::Change::removed && removed_ &&
        (path == *removed_ || path.starts_with(*removed_ + "\\")))
      return;
    if (difference.is_value()) {
      result = add_value(difference);
      return;
    }
    switch (difference.change) {
      case Tree::Change::added:
        return add_line(DifferenceKind::key_added, difference.key);
      case Tree::Change::removed:
        removed_ = path;
        return add_line(DifferenceKind::key_removed, difference.key);
      case Tree::Change::changed:
        if (difference.key_before->security != difference.key_after->security)
          add_line(DifferenceKind::security_changed, difference.key);
        if (difference.key_before->class_name != difference.key_after->class_name)
          add_line(DifferenceKind::class_changed, difference.key);
    }
  }

  Result<void> result;
  std::string text;
  json list = json::array();

 private:
  void add_line(DifferenceKind kind, const KeyPath& key) {
    list.push_back({{"hive", hive_.text()}, {"kind", registry::to_string(kind)}, {"key", key.text()}});
    text += fmt::format("{}: {}\n", registry::to_string(kind), key.text());
  }

  Result<void> add_value(const Tree::KeyDifference& difference) {
    const auto kind = difference.value_before == nullptr  ? DifferenceKind::value_added
                      : difference.value_after == nullptr ? DifferenceKind::value_removed
                                                          : DifferenceKind::value_changed;
    const auto& name =
        (difference.value_after != nullptr ? difference.value_after : difference.value_before)->name;
    add_line(kind, difference.key);
    list.back()["value"] = name;
    text.back() = ' ';
    text += fmt::format(" {}\n", shown_name(name));
    if (difference.value_before != nullptr) {
      RS_TRY(auto shown, show(context_, *open_.before, hive_, difference.key, *difference.value_before));
      list.back()["before"] = std::move(shown.object);
      text += fmt::format("  - {} {}\n", registry::type_name(difference.value_before->type), shown.text);
    }
    if (difference.value_after != nullptr) {
      RS_TRY(auto shown, show(context_, *open_.after, hive_, difference.key, *difference.value_after));
      list.back()["after"] = std::move(shown.object);
      text += fmt::format("  + {} {}\n", registry::type_name(difference.value_after->type), shown.text);
    }
    return {};
  }

  const Context& context_;
  const OpenTrees& open_;
  const ProfilePath& hive_;
  std::optional<std::string> removed_;  // upcased path of the key last told as gone
};

Result<void> diff(const Context& context, const Arguments& arguments) {
  RS_TRY(auto open, open_two_trees(arguments.choice, arguments.profile, arguments.other));
  RS_TRY(auto hives, hives_to_compare(open, arguments.hive));
  json all = json::array();
  std::string text;
  for (const auto& hive : hives) {
    KeyDiff lines(context, open, hive);
    RS_CHECK(open.before->diff_keys(*open.after, hive,
                                    [&](const Tree::KeyDifference& difference) { lines.add(difference); }));
    RS_CHECK(std::move(lines.result));
    if (hives.size() > 1 && !lines.text.empty()) text += hive.text() + ":\n";
    text += lines.text;
    for (auto& line : lines.list) all.push_back(std::move(line));
  }
  context.print({{"differences", all}}, text.empty() ? "equal" : text);
  return {};
}

// Where the hive is in a session's registry.
std::string default_prefix(const ProfilePath& hive) {
  return same_name(hive.name(), "UsrClass.dat") ? "HKEY_CURRENT_USER\\Software\\Classes"
                                                : "HKEY_CURRENT_USER";
}

void warn_of(const std::vector<std::string>& incomplete) {
  for (const auto& item : incomplete) std::cerr << item << '\n';
}

Result<void> export_text(const Context& context, const Arguments& arguments, const ProfilePath& hive,
                         const KeyPath& key, const repository::HiveFile& file) {
  RS_TRY(const auto opened, registry::Hive::open(file.bytes, hive.text()));
  RS_TRY(const auto root, opened.root());
  auto prefix = arguments.prefix.empty() ? default_prefix(hive) : arguments.prefix;
  if (!key.is_root()) prefix += "\\" + key.text();
  std::vector<registry::Defect> defects;  // none: the hive was made just now
  if (arguments.output.empty()) {
    RS_CHECK(registry::export_reg(
        opened, root, prefix,
        [](std::u16string_view text) -> Result<void> {
          const auto utf8 = to_wtf8(text);
          std::cout.write(utf8.data(), static_cast<std::streamsize>(utf8.size()));
          return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
        },
        defects));
    std::cout.flush();
    return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
  }
  Bytes text = to_bytes(std::string_view("\xFF\xFE"));
  RS_CHECK(registry::export_reg(
      opened, root, prefix,
      [&](std::u16string_view units) -> Result<void> {
        const auto bytes = std::as_bytes(std::span(units.data(), units.size()));
        text.insert(text.end(), bytes.begin(), bytes.end());
        return {};
      },
      defects));
  RS_CHECK(os::write_file_durably(os::real_file_system(), arguments.output, text));
  context.print(
      {{"output", arguments.output}, {"bytes", text.size()}, {"keys", file.keys}, {"values", file.values}},
      fmt::format("{}: {} keys, {} values, {}", arguments.output, file.keys, file.values,
                  human_bytes(text.size())));
  return {};
}

Result<void> export_keys(const Context& context, const Arguments& arguments) {
  if (context.json && arguments.output.empty() && arguments.hive_output.empty())
    return fail(ErrorCode::invalid_argument,
                "--json needs --output or --hive: the text goes to standard output");
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  RS_TRY(auto hive, find_hive(*open.tree, arguments.hive));
  RS_TRY(auto key, parse_key(arguments.key));
  RS_TRY(auto file, repository::make_hive_file(*open.tree, hive, key));
  if (arguments.hive_output.empty()) return export_text(context, arguments, hive, key, file);
  RS_CHECK(os::write_file_durably(os::real_file_system(), arguments.hive_output, file.bytes));
  context.print({{"output", arguments.hive_output},
                 {"bytes", file.bytes.size()},
                 {"keys", file.keys},
                 {"values", file.values},
                 {"incomplete", file.incomplete}},
                fmt::format("{}: {} keys, {} values, {}", arguments.hive_output, file.keys, file.values,
                            human_bytes(file.bytes.size())));
  if (!context.json) warn_of(file.incomplete);
  return {};
}

}  // namespace

void add_profile_registry_verbs(CLI::App& noun, Context& context) {
  auto* registry_noun = noun.add_subcommand("registry", "The keys of a version's hives");
  registry_noun->require_subcommand(1);
  auto arguments = std::make_shared<Arguments>();  // shared by the verbs, of which one runs
  auto add = [&](const std::string& name, const std::string& description,
                 Result<void> (*action)(const Context&, const Arguments&)) {
    auto* verb = context.verb(*registry_noun, name, description,
                              [arguments, action, &context] { return action(context, *arguments); });
    arguments->choice.add_to(*verb);
    return verb;
  };
  auto add_hive = [&](CLI::App* verb) {
    verb->add_option("PROFILE", arguments->profile, "NAME or NAME@VERSION")->required();
    return verb->add_option("HIVE", arguments->hive,
                            "NTUSER.DAT, UsrClass.dat, or a hive's path in the profile");
  };
  const char* key_text = "Key, parts separated by \\ (default: the root)";

  auto* ls_verb = add("ls", "List a key's values and subkeys, or a version's hives", ls);
  add_hive(ls_verb);
  ls_verb->add_option("KEY", arguments->key, key_text);
  ls_verb->add_flag("-r,--recursive", arguments->recursive, "All levels");

  auto* get_verb = add("get", "Show a value, or a key's class, time and security", get);
  add_hive(get_verb)->required();
  get_verb->add_option("KEY", arguments->key, "Key, parts separated by \\")->required();
  get_verb->add_option("VALUE", arguments->value, "Name of the value; \"\" is the default value")
      ->each([arguments](const std::string&) { arguments->value_given = true; });

  auto* diff_verb = add("diff", "What changed in the registry between two versions", diff);
  diff_verb->add_option("PROFILE", arguments->profile, "NAME@VERSION, the older")->required();
  diff_verb->add_option("NEWER", arguments->other, "NAME@VERSION")->required();
  diff_verb->add_option("HIVE", arguments->hive, "One hive (default: all)");

  auto* export_verb = add("export", "Write a key and all below it as .reg text or as a hive", export_keys);
  add_hive(export_verb)->required();
  export_verb->add_option("KEY", arguments->key, key_text);
  auto* output = export_verb->add_option("-o,--output", arguments->output,
                                         "File in UTF-16 (default: UTF-8 to standard output)");
  export_verb
      ->add_option("--hive", arguments->hive_output, "Write a hive to this file, with times and security")
      ->excludes(output);
  export_verb->add_option("--prefix", arguments->prefix,
                          "Path of the hive's root in the text (default: where a session has it, "
                          "HKEY_CURRENT_USER …)");
}

}  // namespace roamstead::cli
