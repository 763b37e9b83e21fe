// roamstead hive …: registry hives, in files or inside virtual disks.
#include <fmt/format.h>

#include <iostream>

#include "common/base/text.h"
#include "common/os/file.h"
#include "common/registry/check.h"
#include "common/registry/compare.h"
#include "common/registry/editor.h"
#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"
#include "coordinator/cli/hive_source.h"
#include "coordinator/cli/value_json.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using registry::Hive;
using registry::Key;
using registry::Value;
using registry::ValueType;

struct HiveOptions {
  HiveArguments source;
  std::string key;
  std::string value;
  bool value_given = false;
  bool recursive = false;
  std::string output;
  std::string prefix;
  std::string type;
  std::string data;
  std::string other;  // the second hive of a comparison
  std::string text;   // a .reg file
};

json defects_json(const std::vector<registry::Defect>& defects) {
  auto list = json::array();
  for (const auto& defect : defects)
    list.push_back({{"offset", defect.offset}, {"key", defect.path}, {"what", defect.what}});
  return list;
}

void warn_of(const std::vector<registry::Defect>& defects) {
  constexpr std::size_t kMost = 20;
  for (std::size_t i = 0; i < defects.size() && i < kMost; ++i)
    std::cerr << "damaged: " << defects[i].to_string() << '\n';
  if (defects.size() > kMost) std::cerr << "… and " << defects.size() - kMost << " more defects\n";
}

json report_json(const registry::RecoveryReport& report) {
  auto logs = json::array();
  for (const auto& log : report.logs)
    logs.push_back({{"name", log.name},
                    {"applied", log.applied},
                    {"remark", log.remark},
                    {"format", log.old_format ? "old" : "new"},
                    {"first_sequence", log.first_sequence},
                    {"last_sequence", log.last_sequence},
                    {"entries", log.entries},
                    {"pages", log.pages},
                    {"bytes", log.bytes}});
  return {{"was_dirty", report.was_dirty},
          {"base_block_replaced", report.base_block_replaced},
          {"sequence_before", report.sequence_before},
          {"sequence_after", report.sequence_after},
          {"logs", logs}};
}

std::string report_text(const registry::RecoveryReport& report) {
  if (!report.was_dirty) return "clean: its logs are not applied\n";
  std::string text;
  if (report.base_block_replaced) text += "base block taken from a log\n";
  for (const auto& log : report.logs) {
    if (log.applied) {
      text +=
          fmt::format("applied {}: {} {} to {}, {} pages, {}{}\n", log.name,
                      log.old_format ? "sequence" : "entries", log.first_sequence, log.last_sequence,
                      log.pages, human_bytes(log.bytes), log.remark.empty() ? "" : " (" + log.remark + ")");
    } else {
      text += fmt::format("left out {}: {}\n", log.name, log.remark);
    }
  }
  return text;
}

json hive_value_json(const Value& value, ByteView data) {
  return value_json(value.name.to_wtf8(), value.type, data);
}

// Counts what a hive holds.
class Counter final : public registry::TreeVisitor {
 public:
  bool enter(const Key&, const std::string&, std::uint32_t depth) override {
    ++keys;
    deepest = std::max(deepest, depth);
    return true;
  }
  void value(const Key&, const std::string&, const Value&, ByteView data) override {
    ++values;
    data_bytes += data.size();
  }
  void defect(registry::Defect defect) override { defects.push_back(std::move(defect)); }

  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::uint64_t data_bytes = 0;
  std::uint32_t deepest = 0;
  std::vector<registry::Defect> defects;
};

Result<void> info(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
  Counter counter;
  counter.defects = hive.defects();
  auto root = hive.root();
  if (root) {
    hive.walk(*root, counter);
  } else {
    counter.defects.push_back({36, "", root.error().message});
  }
  const auto& base = hive.base();
  json object = {{"hive", loaded.name},
                 {"version", fmt::format("{}.{}", base.major_version, base.minor_version)},
                 {"sequence_1", base.sequence_1},
                 {"sequence_2", base.sequence_2},
                 {"dirty", base.dirty()},
                 {"flags", base.flags},
                 {"written", registry::time_text(base.written_100ns)},
                 {"file_name", base.file_name},
                 {"bins_bytes", base.bins_bytes},
                 {"root", root ? root->name.to_wtf8() : ""},
                 {"keys", counter.keys},
                 {"values", counter.values},
                 {"data_bytes", counter.data_bytes},
                 {"levels", counter.deepest},
                 {"recovery", report_json(loaded.recovery.report)},
                 {"defects", defects_json(counter.defects)}};
  std::vector<std::vector<std::string>> rows = {
      {"version", object["version"]},
      {"state", base.dirty()                       ? "dirty, shown without its logs"
                : loaded.recovery.report.was_dirty ? "dirty; recovered here from its logs"
                                                   : "clean"},
      {"sequence numbers", fmt::format("{} {}", base.sequence_1, base.sequence_2)},
      {"loaded from", base.file_name},
      {"written", registry::time_text(base.written_100ns)},
      {"hive bins", human_bytes(base.bins_bytes)},
      {"keys", fmt::format("{}, {} levels", counter.keys, counter.deepest)},
      {"values", fmt::format("{}, {}", counter.values, human_bytes(counter.data_bytes))},
      {"defects", std::to_string(counter.defects.size())}};
  auto text = table(rows);
  if (loaded.recovery.report.was_dirty) text += report_text(loaded.recovery.report);
  context.print(object, text);
  if (!context.json) warn_of(counter.defects);
  return {};
}

// Prints keys and values below one key: only the next level, or all.
class Lister final : public registry::TreeVisitor {
 public:
  explicit Lister(bool recursive) : recursive_(recursive) {}

  bool enter(const Key& key, const std::string& path, std::uint32_t depth) override {
    if (depth > 0) {
      keys.push_back({{"key", path}, {"written", registry::time_text(key.written_100ns)}});
      rows.push_back({"key", "", path});
    }
    return depth == 0 || recursive_;
  }
  void value(const Key&, const std::string& path, const Value& value, ByteView data) override {
    auto object = hive_value_json(value, data);
    object["key"] = path;
    values.push_back(std::move(object));
    const auto name = value.name.empty() ? "(default)" : value.name.to_wtf8();
    rows.push_back(
        {registry::type_name(value.type), name,
         (path.empty() ? "" : path + "  ") + registry::value_text(value.type, data, kShownValueBytes)});
  }
  void defect(registry::Defect defect) override { defects.push_back(std::move(defect)); }

  json keys = json::array();
  json values = json::array();
  std::vector<std::vector<std::string>> rows;
  std::vector<registry::Defect> defects;

 private:
  bool recursive_;
};

Result<void> list(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
  RS_TRY(const auto key, hive.find(options.key));
  Lister lister(options.recursive);
  hive.walk(key, lister);
  context.print({{"key", options.key},
                 {"keys", lister.keys},
                 {"values", lister.values},
                 {"defects", defects_json(lister.defects)}},
                table(lister.rows));
  if (!context.json) warn_of(lister.defects);
  return {};
}

Result<void> get_key(const Context& context, const Hive& hive, const Key& key) {
  RS_TRY(const auto security, hive.security(key));
  RS_TRY(const auto class_name, hive.class_name(key));
  json object = {{"name", key.name.to_wtf8()},
                 {"written", registry::time_text(key.written_100ns)},
                 {"class", utf16le_to_wtf8(class_name)},
                 {"flags", key.flags},
                 {"subkeys", key.subkey_count},
                 {"values", key.value_count},
                 {"security", registry::hex_text(security)}};
  context.print(object, table({{"name", key.name.to_wtf8()},
                               {"written", registry::time_text(key.written_100ns)},
                               {"class", utf16le_to_wtf8(class_name)},
                               {"subkeys", std::to_string(key.subkey_count)},
                               {"values", std::to_string(key.value_count)},
                               {"security", registry::hex_text(security)}}));
  return {};
}

Result<void> get(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
  RS_TRY(const auto key, hive.find(options.key));
  if (!options.value_given) return get_key(context, hive, key);
  RS_TRY(const auto name, to_utf16(options.value));
  RS_TRY(const auto value, hive.find_value(key, name));
  if (!value)
    return fail(ErrorCode::not_found,
                fmt::format("{}: key '{}' has no value '{}'", loaded.name, options.key, options.value));
  Bytes scratch;
  RS_TRY(const auto data, hive.data(*value, scratch));
  auto object = hive_value_json(*value, data);
  object["hex"] = registry::hex_text(data);
  auto text = registry::value_text(value->type, data, data.size());
  if (static_cast<ValueType>(value->type) == ValueType::multi_string) {
    text.clear();
    for (const auto& each : registry::multi_string_texts(data)) text += each + "\n";
  }
  context.print(object, text);
  return {};
}

std::string default_prefix(const HiveOptions& options) {
  auto name = options.source.hive;
  for (auto& c : name)
    if (c == '\\' || c == ':') c = '/';
  return "HKEY_LOCAL_MACHINE\\" + os::base_name(name);
}

Result<void> export_text(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
  RS_TRY(const auto key, hive.find(options.key));
  auto prefix = options.prefix.empty() ? default_prefix(options) : options.prefix;
  if (!options.key.empty()) prefix += "\\" + options.key;
  std::vector<registry::Defect> defects;
  if (options.output.empty()) {
    if (context.json)
      return fail(ErrorCode::invalid_argument, "--json needs --output: the text goes to standard output");
    RS_CHECK(registry::export_reg(
        hive, key, prefix,
        [](std::u16string_view text) -> Result<void> {
          const auto utf8 = to_wtf8(text);
          std::cout.write(utf8.data(), static_cast<std::streamsize>(utf8.size()));
          return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
        },
        defects));
    std::cout.flush();
    warn_of(defects);
    return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
  }
  Bytes text = to_bytes(std::string_view("\xFF\xFE"));
  RS_CHECK(registry::export_reg(
      hive, key, prefix,
      [&](std::u16string_view units) -> Result<void> {
        const auto bytes = std::as_bytes(std::span(units.data(), units.size()));
        text.insert(text.end(), bytes.begin(), bytes.end());
        return {};
      },
      defects));
  RS_CHECK(os::write_file_durably(os::real_file_system(), options.output, text));
  context.print({{"output", options.output}, {"bytes", text.size()}, {"defects", defects_json(defects)}},
                fmt::format("{}: {}", options.output, human_bytes(text.size())));
  if (!context.json) warn_of(defects);
  return {};
}

Result<void> recover(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  const auto& report = loaded.recovery.report;
  if (!options.output.empty())
    RS_CHECK(os::write_file_durably(os::real_file_system(), options.output, loaded.file()));
  auto object = report_json(report);
  object["output"] = options.output;
  context.print(object, report_text(report));
  return {};
}

json check_json(const registry::CheckReport& report) {
  return {{"sound", report.sound()},
          {"keys", report.keys},
          {"values", report.values},
          {"descriptors", report.descriptors},
          {"cells", report.cells},
          {"free_cells", report.free_cells},
          {"free_bytes", report.free_bytes},
          {"lost_cells", report.lost_cells},
          {"defect_count", report.defect_count},
          {"defects", defects_json(report.defects)}};
}

Result<void> check_hive(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto loaded, load_hive(options.source));
  RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
  const auto report = registry::check(hive);
  auto object = check_json(report);
  object["recovery"] = report_json(loaded.recovery.report);
  context.print(
      object,
      fmt::format("{} keys, {} values, {} security descriptors, {} cells in use, {} free ({}){}\n{}",
                  report.keys, report.values, report.descriptors, report.cells, report.free_cells,
                  human_bytes(report.free_bytes),
                  report.lost_cells == 0 ? "" : fmt::format(", {} that nothing refers to", report.lost_cells),
                  report.sound() ? "sound" : fmt::format("{} defects", report.defect_count)));
  if (!context.json) warn_of(report.defects);
  return report.sound() ? Result<void>{}
                        : fail(ErrorCode::corrupt, loaded.name + ": the check found defects");
}

// Opens a hive for changing: whole, in a file, with what its logs hold.
Result<registry::Editor> open_editor(const HiveOptions& options, registry::RecoveryReport& recovery) {
  RS_TRY(auto loaded, load_hive(options.source));
  if (loaded.in_disk)
    return fail(ErrorCode::unsupported,
                loaded.name + ": hives inside disks are only read; copy it out (volume cat)");
  recovery = loaded.recovery.report;
  {
    RS_TRY(const auto hive, Hive::open(loaded.file(), loaded.name));
    if (const auto report = registry::check(hive); !report.sound())
      return fail(ErrorCode::corrupt, loaded.name + ": is damaged and not changed (see hive check): " +
                                          report.defects.front().to_string());
  }
  return registry::Editor::open(
      loaded.recovery.file.empty() ? std::move(loaded.primary) : std::move(loaded.recovery.file),
      loaded.name);
}

// Replaces the hive's file, or writes another: the old bytes or the new ones are there at any moment.
Result<void> save(const Context& context, const HiveOptions& options, registry::Editor& editor,
                  const registry::RecoveryReport& recovery) {
  editor.finish();
  const auto changed = editor.dirty().total_bytes();
  const auto& path = options.output.empty() ? options.source.hive : options.output;
  if (changed != 0 || recovery.was_dirty || !options.output.empty())
    RS_CHECK(os::write_file_durably(os::real_file_system(), path, editor.file()));
  context.print({{"output", path},
                 {"changed_bytes", changed},
                 {"sequence", editor.hive().base().sequence_1},
                 {"recovery", report_json(recovery)}},
                changed == 0 ? path + ": nothing to change"
                             : fmt::format("{}: {} changed{}", path, human_bytes(changed),
                                           recovery.was_dirty ? ", recovered from its logs before" : ""));
  return {};
}

Result<void> set(const Context& context, const HiveOptions& options) {
  registry::RecoveryReport recovery;
  RS_TRY(auto editor, open_editor(options, recovery));
  RS_TRY(const auto root, editor.hive().root());
  RS_TRY(const auto key, editor.create_path(root.cell, options.key));
  if (options.value_given) {
    RS_TRY(const auto type, registry::parse_type_name(options.type));
    RS_TRY(const auto name, to_utf16(options.value));
    RS_TRY(const auto data, registry::parse_value_text(type, options.data));
    RS_CHECK(editor.set_value(key, name, type, data));
  }
  return save(context, options, editor, recovery);
}

Result<void> remove(const Context& context, const HiveOptions& options) {
  registry::RecoveryReport recovery;
  RS_TRY(auto editor, open_editor(options, recovery));
  RS_TRY(const auto key, editor.hive().find(options.key));
  if (options.value_given) {
    RS_TRY(const auto name, to_utf16(options.value));
    RS_CHECK_CTX(options.key, editor.delete_value(key.cell, name));
  } else {
    RS_CHECK_CTX(options.key, editor.delete_key(key.cell));
  }
  return save(context, options, editor, recovery);
}

Result<void> import_text(const Context& context, const HiveOptions& options) {
  constexpr std::uint64_t kMostTextBytes = std::uint64_t{1} << 30;
  RS_TRY(const auto text, os::read_file(os::real_file_system(), options.text, kMostTextBytes));
  RS_TRY_CTX(const auto changes, options.text, registry::parse_reg(text));
  registry::RecoveryReport recovery;
  RS_TRY(auto editor, open_editor(options, recovery));
  RS_CHECK_CTX(options.text,
               registry::apply_reg(editor, changes,
                                   options.prefix.empty() ? default_prefix(options) : options.prefix));
  return save(context, options, editor, recovery);
}

Result<void> diff(const Context& context, const HiveOptions& options) {
  RS_TRY(const auto first, load_hive(options.source));
  auto second_source = options.source;
  second_source.hive = options.other;
  second_source.logs.clear();
  RS_TRY(const auto second, load_hive(second_source));
  RS_TRY(const auto before, Hive::open(first.file(), first.name));
  RS_TRY(const auto after, Hive::open(second.file(), second.name));
  auto list = json::array();
  std::string text;
  std::vector<registry::Defect> defects;
  registry::compare(
      before, after,
      [&](const registry::Difference& difference) {
        json object = {{"kind", registry::to_string(difference.kind)}, {"key", difference.path}};
        text += fmt::format("{}: {}", registry::to_string(difference.kind), difference.path);
        const auto* named =
            difference.value_after != nullptr ? difference.value_after : difference.value_before;
        if (named != nullptr) {
          object["value"] = named->name.to_wtf8();
          text += fmt::format("  {}", named->name.empty() ? "(default)" : named->name.to_wtf8());
        }
        if (difference.value_before != nullptr) {
          object["before"] = hive_value_json(*difference.value_before, difference.data_before);
          text += fmt::format(
              "\n  - {} {}", registry::type_name(difference.value_before->type),
              registry::value_text(difference.value_before->type, difference.data_before, kShownValueBytes));
        }
        if (difference.value_after != nullptr) {
          object["after"] = hive_value_json(*difference.value_after, difference.data_after);
          text += fmt::format(
              "\n  + {} {}", registry::type_name(difference.value_after->type),
              registry::value_text(difference.value_after->type, difference.data_after, kShownValueBytes));
        }
        text += '\n';
        list.push_back(std::move(object));
        return true;
      },
      [&](registry::Defect defect) { defects.push_back(std::move(defect)); });
  context.print({{"differences", list}, {"defects", defects_json(defects)}}, text.empty() ? "equal" : text);
  if (!context.json) warn_of(defects);
  return {};
}

}  // namespace

void add_hive_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("hive", "Registry hives, in files or inside virtual disks");
  noun->require_subcommand(1);
  auto options = std::make_shared<HiveOptions>();
  auto verb = [&](const std::string& name, const std::string& description, auto action) {
    auto* added = context.verb(*noun, name, description,
                               [&context, options, action] { return action(context, *options); });
    added
        ->add_option("HIVE", options->source.hive,
                     "A hive's path, or DISK:PATH for one inside a virtual disk")
        ->required();
    added->add_option("--log", options->source.logs, "A log of the hive (default: those beside it)");
    added->add_option("--partition", options->source.partition, "Partition of DISK (default: the only one)");
    return added;
  };
  auto reading_verb = [&](const std::string& name, const std::string& description, auto action) {
    auto* added = verb(name, description, action);
    added->add_flag("--as-is", options->source.as_is, "Show a dirty hive without its logs: old data");
    return added;
  };
  reading_verb("info", "What a hive is and holds", info);
  auto* ls = reading_verb("ls", "List a key's values and subkeys", list);
  ls->add_option("KEY", options->key, "Key, parts separated by \\ (default: the root)");
  ls->add_flag("-r,--recursive", options->recursive, "All levels");
  auto* get_verb = reading_verb("get", "Show a value, or a key's class, time and security", get);
  get_verb->add_option("KEY", options->key, "Key, parts separated by \\")->required();
  get_verb->add_option("VALUE", options->value, "Name of the value; \"\" is the default value")
      ->each([options](const std::string&) { options->value_given = true; });
  auto* export_verb = reading_verb("export", "Write a key and all below it as .reg text", export_text);
  export_verb->add_option("KEY", options->key, "Key, parts separated by \\ (default: the root)");
  export_verb->add_option("-o,--output", options->output,
                          "File in UTF-16 (default: UTF-8 to standard output)");
  export_verb->add_option("--prefix", options->prefix,
                          "Before each key (default: HKEY_LOCAL_MACHINE\\ and the hive's name)");
  auto* recover_verb =
      verb("recover", "Bring a dirty hive up to date from its logs, into a new file", recover);
  recover_verb->add_option("-o,--output", options->output,
                           "The new file (default: only say what would be applied)");
  reading_verb("check", "Look for damage anywhere in a hive", check_hive);
  auto* diff_verb = reading_verb("diff", "What differs between two hives", diff);
  diff_verb->add_option("OTHER", options->other, "The hive after, as HIVE is the one before")->required();
  auto writing_verb = [&](const std::string& name, const std::string& description, auto action) {
    auto* added = verb(name, description, action);
    added->add_option("-o,--output", options->output, "Write the changed hive here (default: replace HIVE)");
    return added;
  };
  auto value_option = [options](CLI::App* added, const std::string& description) {
    return added->add_option("VALUE", options->value, description)->each([options](const std::string&) {
      options->value_given = true;
    });
  };
  auto* set_verb = writing_verb("set", "Create a key and those above it, or set a value", set);
  set_verb->add_option("KEY", options->key, "Key, parts separated by \\")->required();
  auto* set_value = value_option(set_verb, "Name of the value; \"\" is the default value");
  auto* type_option = set_verb->add_option("TYPE", options->type, "REG_SZ, REG_DWORD … or a number");
  set_verb->add_option("DATA", options->data,
                       "Text (REG_MULTI_SZ: parts separated by line feeds), a number, or hexadecimal digits");
  set_value->needs(type_option);
  auto* delete_verb = writing_verb("delete", "Delete a value, or a key with all below it", remove);
  delete_verb->add_option("KEY", options->key, "Key, parts separated by \\")->required();
  value_option(delete_verb, "Name of the value; \"\" is the default value");
  auto* import_verb = writing_verb("import", "Apply .reg text to a hive: all of it, or nothing", import_text);
  import_verb->add_option("FILE", options->text, "Text of version 5, in UTF-16 or UTF-8")->required();
  import_verb->add_option(
      "--prefix", options->prefix,
      "Path of the hive's root in the text (default: HKEY_LOCAL_MACHINE\\ and the hive's name)");
}

}  // namespace roamstead::cli
