// roamstead profile: profiles and their versions.
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "coordinator/admin/commands.h"
#include "coordinator/cli/profile_version.h"
#include "coordinator/repository/exporter.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;
using profile::EntryKind;
using profile::ProfilePath;
using repository::Tree;

constexpr std::size_t kListAtOnce = 1000;
constexpr std::size_t kReadAtOnce = 1u << 20;

// The arguments of all profile verbs; each uses some.
struct ProfileArguments {
  RepositoryChoice choice;
  std::string profile;  // NAME or NAME@VERSION
  std::string other;    // the second one of diff
  std::string path;
  std::string source;
  std::string target;
};

std::string_view kind_text(EntryKind kind) {
  switch (kind) {
    case EntryKind::file:
      return "file";
    case EntryKind::directory:
      return "directory";
    case EntryKind::junction:
      return "junction";
    case EntryKind::symlink:
      return "symlink";
    case EntryKind::opaque:
      return "opaque";
    case EntryKind::registry:
      return "registry";
  }
  return "unknown";
}

json entry_json(const std::string& name, const profile::Entry& entry) {
  json streams = json::array();
  for (const auto& stream : entry.streams)
    streams.push_back({{"name", stream.name}, {"size", stream.size_bytes}});
  return {{"name", name},
          {"kind", kind_text(entry.kind)},
          {"size", entry.size_bytes},
          {"attributes", entry.metadata.attributes},
          {"created_100ns", entry.metadata.created_100ns},
          {"written_100ns", entry.metadata.written_100ns},
          {"security_bytes", entry.metadata.security.size()},
          {"streams", std::move(streams)},
          {"link_target", entry.link_target},
          {"link_group", entry.link_group},
          {"reparse_tag", entry.reparse_tag}};
}

std::string attributes_text(std::uint32_t attributes) {
  std::string text = "----";
  if (attributes & profile::kAttributeReadOnly) text[0] = 'r';
  if (attributes & profile::kAttributeHidden) text[1] = 'h';
  if (attributes & profile::kAttributeSystem) text[2] = 's';
  if (attributes & profile::kAttributeArchive) text[3] = 'a';
  return text;
}

std::vector<std::string> entry_row(const std::string& name, const profile::Entry& entry) {
  auto shown = name;
  if (entry.is_directory()) shown += "/";
  if (entry.kind == EntryKind::registry) shown += "  [hive]";
  if (entry.kind == EntryKind::junction || entry.kind == EntryKind::symlink)
    shown += " -> " + entry.link_target;
  for (const auto& stream : entry.streams) shown += fmt::format("  [:{} {}]", stream.name, stream.size_bytes);
  return {attributes_text(entry.metadata.attributes), std::to_string(entry.size_bytes),
          seconds_text(entry.metadata.written_100ns), shown};
}

Result<void> import(const ProfileArguments& arguments, const Context& context) {
  // The coordinator may be the one that reads it, from another working directory.
  std::error_code error;
  auto source = std::filesystem::absolute(arguments.source, error);
  if (error) return fail(ErrorCode::invalid_argument, arguments.source + ": " + error.message());
  RS_TRY(auto result,
         run_command(
             arguments.choice,
             {{"command", "profile.import"}, {"profile", arguments.profile}, {"source", source.string()}},
             context));
  std::string text;
  for (const auto& skipped : result.value("skipped", json::array()))
    text += "skipped " + skipped.get<std::string>() + "\n";
  std::string hives;
  if (result.value("hives", 0) != 0)
    hives = fmt::format(" ({} hives with {} keys)", result.value("hives", 0), result.value("keys", 0));
  text += fmt::format("{}@{}: {} files{}, {} folders, {}; {} new on storage", arguments.profile,
                      result.value("version", 0), result.value("files", 0), hives,
                      result.value("directories", 0), human_bytes(result.value("bytes", std::uint64_t{0})),
                      human_bytes(result.value("new_bytes", std::uint64_t{0})));
  context.print(result, text);
  return {};
}

Result<void> create(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice,
                                  {{"command", "profile.create"}, {"profile", arguments.profile}}, context));
  context.print(result, "Made the profile " + arguments.profile + ".");
  return {};
}

Result<void> list(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto repository, open_for_reading(arguments.choice));
  RS_TRY(auto profiles, repository->profiles());
  json all = json::array();
  std::vector<std::vector<std::string>> rows{{"PROFILE", "HEAD", "COMMITTED"}};
  for (const auto& profile : profiles) {
    all.push_back(admin::to_json(profile));
    RS_TRY(auto versions, repository->versions(profile.id));
    std::string committed = "-";
    for (const auto& version : versions)
      if (version.number == profile.head) committed = seconds_text(version.committed_100ns);
    rows.push_back({profile.name, std::to_string(profile.head), committed});
  }
  context.print(all, table(rows));
  return {};
}

Result<void> versions(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto repository, open_for_reading(arguments.choice));
  RS_TRY(auto profile, repository->find_profile(arguments.profile));
  RS_TRY(auto found, repository->versions(profile.id));
  json all = json::array();
  std::vector<std::vector<std::string>> rows{
      {"VERSION", "PARENT", "KIND", "COMMITTED", "DESKTOP", "ORDINAL", "RECORDS", "NEW", "HELD BACK"}};
  for (const auto& version : found) {
    all.push_back(admin::to_json(version));
    rows.push_back({std::to_string(version.number) + (version.number == profile.head ? " *" : ""),
                    std::to_string(version.parent), std::string(admin::to_string(version.kind)),
                    seconds_text(version.committed_100ns), version.desktop.empty() ? "-" : version.desktop,
                    std::to_string(version.ordinal), std::to_string(version.records),
                    human_bytes(version.new_bytes), std::to_string(version.held_back.size())});
  }
  context.print(all, table(rows));
  return {};
}

Result<void> ls(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  RS_TRY(auto path, ProfilePath::parse(arguments.path));
  RS_TRY(auto entry, open.tree->lookup(path));
  json all = json::array();
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& name, const profile::Entry& child) {
    all.push_back(entry_json(name, child));
    rows.push_back(entry_row(name, child));
  };
  if (!entry.is_directory()) add(std::string(path.name()), entry);
  std::string after;
  for (bool more = entry.is_directory(); more;) {
    RS_TRY(auto children, open.tree->list(path, after, kListAtOnce));
    for (const auto& child : children) add(child.name, child.entry);
    more = children.size() == kListAtOnce;
    if (more) after = children.back().name;
  }
  context.print(all, table(rows));
  return {};
}

// PATH or PATH:STREAM; profile names hold no colon.
Result<void> cat(const ProfileArguments& arguments, const Context& context) {
  if (context.json)
    return fail(ErrorCode::invalid_argument, "cat prints the file as it is; --json makes no sense here");
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  auto colon = arguments.path.find(':');
  auto stream = colon == std::string::npos ? std::string() : arguments.path.substr(colon + 1);
  RS_TRY(auto path, ProfilePath::parse(arguments.path.substr(0, colon)));
  RS_TRY(auto entry, open.tree->lookup(path));
  if (entry.is_directory() && stream.empty())
    return fail(ErrorCode::invalid_argument, "'" + path.text() + "' is a directory");
  if (entry.kind == EntryKind::registry)
    return fail(ErrorCode::invalid_argument,
                "'" + path.text() +
                    "' is a hive: its keys are shown by profile registry ls, and written by "
                    "profile registry export");
  auto size = entry.size_bytes;
  for (const auto& other : entry.streams)
    if (other.name == stream) size = other.size_bytes;
  Bytes part(std::min<std::uint64_t>(kReadAtOnce, size));
  // Asked for even when there is nothing to read, so that a missing stream is an error.
  std::uint64_t offset = 0;
  do {
    part.resize(std::min<std::uint64_t>(kReadAtOnce, size - offset));
    RS_CHECK(open.tree->read(path, stream, offset, part));
    if (std::fwrite(part.data(), 1, part.size(), stdout) != part.size())
      return fail(ErrorCode::io, "cannot write to standard output");
    offset += part.size();
  } while (offset < size);
  if (std::fflush(stdout) != 0) return fail(ErrorCode::io, "cannot write to standard output");
  return {};
}

Result<void> restore_to(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto open, open_tree(arguments.choice, arguments.profile));
  auto result = repository::export_tree(*open.tree, arguments.target, [&](std::uint64_t done) {
    context.progress("writing " + arguments.profile, done, 0);
  });
  context.end_progress();
  RS_TRY(auto exported, std::move(result));
  std::string text;
  for (const auto& item : exported.incomplete) text += item + "\n";
  text += fmt::format("Wrote {} files, {} folders, {} to {}.", exported.files, exported.directories,
                      human_bytes(exported.bytes), arguments.target);
  context.print({{"version", open.tree->version()},
                 {"target", arguments.target},
                 {"files", exported.files},
                 {"directories", exported.directories},
                 {"bytes", exported.bytes},
                 {"incomplete", exported.incomplete}},
                text);
  return {};
}

Result<void> restore(const ProfileArguments& arguments, const Context& context) {
  auto wanted = parse_profile(arguments.profile);
  if (!wanted.version) return fail(ErrorCode::invalid_argument, "restore which version? Say NAME@VERSION");
  if (!arguments.target.empty()) return restore_to(arguments, context);
  RS_TRY(auto result,
         run_command(arguments.choice,
                     {{"command", "profile.restore"}, {"profile", wanted.name}, {"version", *wanted.version}},
                     context));
  context.print(result, fmt::format("{}@{} is the new head, with the content of version {}.", wanted.name,
                                    result.value("version", 0), *wanted.version));
  return {};
}

std::string_view change_word(Tree::Change change) {
  return change == Tree::Change::added ? "added" : change == Tree::Change::removed ? "removed" : "changed";
}

struct ChangeCounts {
  std::uint64_t added = 0, removed = 0, changed = 0;

  void count(Tree::Change change) {
    ++(change == Tree::Change::added ? added : change == Tree::Change::removed ? removed : changed);
  }
  std::string text() const { return fmt::format("+{} -{} ~{}", added, removed, changed); }
  json to_json() const { return {{"added", added}, {"removed", removed}, {"changed", changed}}; }
};
struct KeyChanges {
  ChangeCounts keys, values;
};
Result<KeyChanges> count_key_changes(const OpenTrees& open, const ProfilePath& hive) {
  KeyChanges changes;
  RS_CHECK(open.before->diff_keys(*open.after, hive, [&](const Tree::KeyDifference& difference) {
    (difference.is_value() ? changes.values : changes.keys).count(difference.change);
  }));
  return changes;
}

Result<void> diff(const ProfileArguments& arguments, const Context& context) {
  RS_TRY(auto open, open_two_trees(arguments.choice, arguments.profile, arguments.other));
  json all = json::array();
  std::string text;
  Result<void> counted;
  RS_CHECK(open.before->diff(
      *open.after, [&](Tree::Change change, const ProfilePath& path, const profile::Entry& entry) {
        auto item = entry_json(path.text(), entry);
        item["change"] = change_word(change);
        text += fmt::format("{:8} {}{}", change_word(change), path.is_root() ? "." : path.text(),
                            entry.is_directory() ? "/" : "");
        if (entry.kind == EntryKind::registry && counted) {
          auto counts = count_key_changes(open, path);
          if (counts) {
            text += "  keys " + counts->keys.text() + ", values " + counts->values.text();
            item["keys"] = counts->keys.to_json();
            item["values"] = counts->values.to_json();
          } else {
            counted = fail(std::move(counts).error());
          }
        }
        all.push_back(std::move(item));
        text += "\n";
      }));
  RS_CHECK(std::move(counted));
  context.print(all, text);
  return {};
}

}  // namespace

void add_profile_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("profile", "Profiles and their versions");
  noun->require_subcommand(1);
  auto arguments = std::make_shared<ProfileArguments>();  // shared by the verbs, of which one runs
  auto add = [&](const std::string& name, const std::string& description,
                 Result<void> (*action)(const ProfileArguments&, const Context&)) {
    auto* verb = context.verb(*noun, name, description,
                              [arguments, action, &context] { return action(*arguments, context); });
    arguments->choice.add_to(*verb);
    return verb;
  };
  auto needs_profile = [&](CLI::App* verb, const std::string& description) {
    verb->add_option("profile", arguments->profile, description)->required();
    return verb;
  };
  auto* created =
      needs_profile(add("create", "Make an empty profile", create), "The profile's name: SID or login name");
  (void)created;
  auto* imported = needs_profile(add("import", "Take a directory tree as a profile's new head", import),
                                 "The profile's name; made if there is none");
  imported
      ->add_option("source", arguments->source, "The directory, best on an NTFS volume mounted by ntfs-3g")
      ->required();
  add("list", "All profiles", list);
  needs_profile(add("versions", "All versions of a profile", versions), "The profile's name");
  auto* listed = needs_profile(add("ls", "List a folder of a version", ls), "NAME or NAME@VERSION");
  listed->add_option("path", arguments->path, "Path within the profile");
  auto* printed = needs_profile(add("cat", "Print a file of a version", cat), "NAME or NAME@VERSION");
  printed->add_option("path", arguments->path, "PATH or PATH:STREAM within the profile")->required();
  auto* restored = needs_profile(
      add("restore", "Make an older version the new head, or write one to a directory", restore),
      "NAME@VERSION");
  restored->add_option("--to", arguments->target,
                       "Write the files to this new directory and leave the profile alone");
  auto* compared =
      needs_profile(add("diff", "What changed between two versions", diff), "NAME@VERSION, the older");
  compared->add_option("newer", arguments->other, "NAME@VERSION")->required();
  add_profile_fork_verbs(*noun, context);
  add_profile_quota_verbs(*noun, context);
  add_profile_rules_verb(*noun, context);
  add_profile_registry_verbs(*noun, context);
}

}  // namespace roamstead::cli
