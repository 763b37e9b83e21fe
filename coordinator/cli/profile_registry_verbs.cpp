// roamstead profile registry …: the keys of any version of a profile.
#include <iostream>

#include <fmt/format.h>

#include "common/base/text.h"
#include "common/os/file.h"
#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"
#include "coordinator/cli/profile_hives.h"
#include "coordinator/cli/value_json.h"
#include "coordinator/repository/hive_file.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::ProfilePath;
using repository::Tree;

struct RegistryArguments {
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

Result<void> ls(const Context& context, const RegistryArguments& arguments) {
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

Result<void> get(const Context& context, const RegistryArguments& arguments) {
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

Result<void> diff(const Context& context, const RegistryArguments& arguments) {
  RS_TRY(auto open, open_two_trees(arguments.choice, arguments.profile, arguments.other));
  return diff_registry(context, open, arguments.hive);
}

// Where the hive is in a session's registry.
std::string default_prefix(const ProfilePath& hive) {
  return same_name(hive.name(), "UsrClass.dat") ? "HKEY_CURRENT_USER\\Software\\Classes"
                                                : "HKEY_CURRENT_USER";
}

void warn_of(const std::vector<std::string>& incomplete) {
  for (const auto& item : incomplete) std::cerr << item << '\n';
}

Result<void> export_text(const Context& context, const RegistryArguments& arguments, const ProfilePath& hive,
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

Result<void> export_keys(const Context& context, const RegistryArguments& arguments) {
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
  auto arguments = std::make_shared<RegistryArguments>();  // shared by the verbs, of which one runs
  auto add = [&](const std::string& name, const std::string& description,
                 Result<void> (*action)(const Context&, const RegistryArguments&)) {
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
