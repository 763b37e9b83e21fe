// roamstead image, pool, clone: desktops made from a golden image that is powered off.
#include <fmt/format.h>

#include <filesystem>

#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMostSpecificationBytes = 48u << 10;  // a request has 64 KiB

struct ComposeArguments {
  RepositoryChoice choice;
  std::string name;
  std::string disk;
  std::string specification;
  bool discard_unsent = false;
  std::uint64_t within_seconds = 30;
  bool delete_data = false;
};

void add_fence(json& request, const ComposeArguments& arguments) {
  request["discard_unsent"] = arguments.discard_unsent;
  request["within_seconds"] = arguments.within_seconds;
}

// What was read from disks before they went.
std::string saved_text(const json& result) {
  std::string text;
  for (const auto& session : json_list(result, "saved"))
    text += "\nprofile " + json_text(session, "profile") + ": " + json_text(session, "records") +
            " changes that " + json_text(session, "desktop") + " had not sent are saved" +
            (session.contains("version") ? " as version " + json_text(session, "version") : "");
  return text;
}

std::string image_title(const json& image) {
  auto title = json_text(image, "product");
  if (const auto version = json_text(image, "version"); !version.empty()) title += " " + version;
  return title + " (build " + json_text(image, "build") + ")";
}

std::string warnings_text(const json& result) {
  std::string text;
  for (const auto& warning : json_list(result, "warnings"))
    text += "\nwarning: " + (warning.is_string() ? warning.get<std::string>() : "");
  return text;
}

Result<void> import_image(const ComposeArguments& arguments, const Context& context) {
  json request{{"command", "image.import"},
               {"image", arguments.name},
               {"disk", std::filesystem::absolute(arguments.disk).lexically_normal().string()}};
  RS_TRY(const auto image, run_command(arguments.choice, request, context));
  context.print(image, "image " + arguments.name + ": " + image_title(image) + warnings_text(image));
  return {};
}

Result<void> list_images(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto result, run_command(arguments.choice, {{"command", "image.list"}}, context));
  std::vector<std::vector<std::string>> rows{{"IMAGE", "WINDOWS", "AGENT", "IMPORTED", "DISK"}};
  for (const auto& image : json_list(result, "images"))
    rows.push_back({json_text(image, "image"), image_title(image), json_text(image, "agent"),
                    json_time(image.value("imported_100ns", json())), json_text(image, "disk")});
  context.print(result, table(rows));
  return {};
}

Result<void> show_image(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto image,
         run_command(arguments.choice, {{"command", "image.show"}, {"image", arguments.name}}, context));
  auto text = image_title(image) + "\n";
  for (const char* key :
       {"disk", "format", "architecture", "computer_name", "control_set", "generalised", "agent"})
    text += fmt::format("{:14}{}\n", key, json_text(image, key));
  for (const auto& adapter : json_list(image, "adapters"))
    text += fmt::format("{:14}{} {} {}\n", "adapter", json_text(adapter, "name"), json_text(adapter, "id"),
                        json_text(adapter, "instance"));
  context.print(image, text + warnings_text(image));
  return {};
}

Result<void> forget_image(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto result,
         run_command(arguments.choice, {{"command", "image.forget"}, {"image", arguments.name}}, context));
  context.print(result, "image " + arguments.name + " forgotten; its disk is where it was");
  return {};
}

Result<json> specification_request(const ComposeArguments& arguments, const char* command) {
  RS_TRY(const auto text,
         os::read_file(os::real_file_system(), arguments.specification, kMostSpecificationBytes));
  const auto path = std::filesystem::absolute(arguments.specification).lexically_normal();
  return json{{"command", command},
              {"specification", std::string(as_text(text))},
              {"source", arguments.specification},
              {"directory", path.parent_path().string()}};
}

std::string edit_target(const json& edit) {
  auto text = json_text(edit, "key");
  if (edit.contains("value"))
    text += "\\" + (json_text(edit, "value").empty() ? "(default)" : json_text(edit, "value"));
  return text;
}

Result<void> plan_pool(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto request, specification_request(arguments, "pool.plan"));
  RS_TRY(const auto plan, run_command(arguments.choice, request, context));
  std::vector<std::vector<std::string>> rows{{"EDIT", "FOR", "WHERE", "WHAT", "DATA"}};
  for (const auto& edit : json_list(plan, "registry"))
    rows.push_back({json_text(edit, "unit"), edit.value("each", false) ? "each" : "all",
                    json_text(edit, "hive") + ": " + edit_target(edit), json_text(edit, "action"),
                    json_text(edit, "data")});
  for (const auto& file : json_list(plan, "files"))
    rows.push_back({json_text(file, "unit"), file.value("each", false) ? "each" : "all",
                    json_text(file, "path"),
                    file.value("secret", false) ? "file, for SYSTEM and Administrators" : "file",
                    json_text(file, "size") + " bytes"});
  const auto& clones = json_list(plan, "clones");
  auto text = table(rows) + fmt::format("{} desktops", clones.size());
  if (!clones.empty())
    text += ", " + clones.front().get<std::string>() + " to " + clones.back().get<std::string>();
  text += "; boots until a desktop is ready: " + json_text(plan, "boots");
  if (plan.contains("definition"))
    text += "\nThe first desktop's virtual machine:\n" + json_text(plan, "definition");
  context.print(plan, text + warnings_text(plan));
  return {};
}

Result<void> create_pool(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto request, specification_request(arguments, "pool.create"));
  RS_TRY(const auto result, run_command(arguments.choice, request, context));
  auto text = "pool " + json_text(result, "pool") + ": " + json_text(result, "made") + " desktops made";
  if (json_text(result, "present") != "0") text += ", " + json_text(result, "present") + " were there";
  const auto& failed = json_list(result, "failed");
  for (const auto& clone : failed)
    text += "\nfailed: " + json_text(clone, "clone") + ": " + json_text(clone, "error");
  if (result.value("started", 0) != 0) text += "\n" + json_text(result, "started") + " machines started";
  const auto& not_started = json_list(result, "not_started");
  for (const auto& clone : not_started)
    text += "\nnot started: " + json_text(clone, "clone") + " " + json_text(clone, "error");
  context.print(result, text);
  if (!failed.empty())
    return fail(ErrorCode::conflict,
                fmt::format("{} desktops were not made; the same command tries them again", failed.size()));
  if (!not_started.empty())
    return fail(
        ErrorCode::conflict,
        fmt::format("{} machines were not started; the same command tries them again", not_started.size()));
  return {};
}

Result<void> list_clone_pools(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto result, run_command(arguments.choice, {{"command", "pool.list"}}, context));
  std::vector<std::vector<std::string>> rows{
      {"POOL", "IMAGE", "DESKTOPS", "MADE", "FAILED", "CREATED", "DIRECTORY"}};
  for (const auto& pool : json_list(result, "pools"))
    rows.push_back({json_text(pool, "pool"), json_text(pool, "image"), json_text(pool, "clones"),
                    json_text(pool, "made"), json_text(pool, "failed"),
                    json_time(pool.value("created_100ns", json())), json_text(pool, "directory")});
  context.print(result, table(rows));
  return {};
}

Result<void> show_pool(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto pool,
         run_command(arguments.choice, {{"command", "pool.show"}, {"pool", arguments.name}}, context));
  context.print(pool, "pool " + arguments.name + ": " + json_text(pool, "made") + " of " +
                          json_text(pool, "clones") + " desktops of image " + json_text(pool, "image") +
                          " made, in " + json_text(pool, "directory") + "\n\n" +
                          json_text(pool, "specification"));
  return {};
}

// Disks with what people keep there are not deleted by the way.
std::string kept_text(const json& result) {
  std::string text;
  for (const auto& path : json_list(result, "kept_user_disks"))
    text += "\nuser disk kept: " + path.get<std::string>();
  return text;
}

Result<void> delete_pool(const ComposeArguments& arguments, const Context& context) {
  json request{{"command", "pool.delete"}, {"pool", arguments.name}};
  add_fence(request, arguments);
  request["delete_data"] = arguments.delete_data;
  RS_TRY(const auto result, run_command(arguments.choice, request, context));
  context.print(result, "pool " + arguments.name + " deleted, with " + json_text(result, "clones") +
                            " desktops and their disks" + saved_text(result) + kept_text(result));
  return {};
}

Result<void> list_clones(const ComposeArguments& arguments, const Context& context) {
  json request{{"command", "clone.list"}};
  if (!arguments.name.empty()) request["pool"] = arguments.name;
  RS_TRY(const auto result, run_command(arguments.choice, request, context));
  std::vector<std::vector<std::string>> rows{{"CLONE", "POOL", "STATE", "BOOT", "MADE", "ERROR"}};
  for (const auto& clone : json_list(result, "clones"))
    rows.push_back({json_text(clone, "clone"), json_text(clone, "pool"), json_text(clone, "state"),
                    json_text(clone, "boot"), json_time(clone.value("made_100ns", json())),
                    json_text(clone, "error") + json_text(clone, "boot_detail")});
  context.print(result, table(rows));
  return {};
}

json clone_request(const ComposeArguments& arguments, const char* command) {
  return {{"command", command}, {"clone", arguments.name}};
}

Result<void> show_clone(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto clone, run_command(arguments.choice, clone_request(arguments, "clone.show"), context));
  std::string text;
  for (const char* key : {"clone", "pool", "state", "boot", "boot_detail", "power", "enrolled", "address",
                          "address6", "disk", "reference", "user_disk", "definition", "error"})
    if (clone.contains(key)) text += fmt::format("{:11}{}\n", key, json_text(clone, key));
  context.print(clone, text);
  return {};
}

Result<void> diff_clone(const ComposeArguments& arguments, const Context& context) {
  RS_TRY(const auto diff, run_command(arguments.choice, clone_request(arguments, "clone.diff"), context));
  std::vector<std::vector<std::string>> rows{{"CHANGE", "WHERE", "BEFORE", "AFTER"}};
  for (const auto& change : json_list(diff, "registry"))
    rows.push_back({json_text(change, "change"), json_text(change, "hive") + ": " + edit_target(change),
                    json_text(change, "before"), json_text(change, "after")});
  for (const auto& file : json_list(diff, "files"))
    rows.push_back({"file " + json_text(file, "change"), json_text(file, "path"), "",
                    json_text(file, "size") + " bytes"});
  context.print(diff, table(rows));
  return {};
}

Result<void> refresh_clone(const ComposeArguments& arguments, const Context& context) {
  auto request = clone_request(arguments, "clone.refresh");
  add_fence(request, arguments);
  RS_TRY(const auto result, run_command(arguments.choice, request, context));
  context.print(result, "clone " + arguments.name + " is as it was made, with a new identity" +
                            (result.value("started", false) ? ", and started again" : "") +
                            saved_text(result));
  return {};
}

Result<void> delete_clone(const ComposeArguments& arguments, const Context& context) {
  auto request = clone_request(arguments, "clone.delete");
  add_fence(request, arguments);
  request["delete_data"] = arguments.delete_data;
  RS_TRY(const auto result, run_command(arguments.choice, request, context));
  context.print(result, "clone " + arguments.name + " deleted, with its disks" + saved_text(result) +
                            kept_text(result));
  return {};
}

}  // namespace

void add_compose_verbs(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<ComposeArguments>();  // shared by the verbs, of which one runs
  auto verb = [&](CLI::App& noun, const char* name, const char* description, auto action) {
    auto* added = context.verb(noun, name, description,
                               [arguments, &context, action] { return action(*arguments, context); });
    arguments->choice.add_to(*added);
    return added;
  };
  const auto discard = [&](CLI::App* added) {
    added->add_flag("--discard-unsent", arguments->discard_unsent,
                    "Even while a session is open there: what it has not sent is lost");
    added->add_option("--within", arguments->within_seconds, "Seconds that a desktop has to log its user out")
        ->capture_default_str()
        ->check(CLI::Range(0, 600));
  };

  const auto with_data = [&](CLI::App* added) {
    added->add_flag("--delete-data", arguments->delete_data,
                    "User disks too, with all that people keep on them; without it they stay");
    return added;
  };

  auto* image = app.add_subcommand("image", "Golden images that desktops are made from");
  image->require_subcommand(1);
  auto* importing = verb(*image, "import", "Look at a disk, and remember it as a golden image", import_image);
  importing->add_option("name", arguments->name, "The image's name from now on")->required();
  importing->add_option("disk", arguments->disk, "The disk, which stays where it is and must not change")
      ->required();
  verb(*image, "list", "All images", list_images);
  verb(*image, "show", "What is known of an image", show_image)
      ->add_option("name", arguments->name, "The image")
      ->required();
  verb(*image, "forget", "Remember it no more; the disk stays", forget_image)
      ->add_option("name", arguments->name, "The image")
      ->required();

  auto* pool = app.add_subcommand("pool", "Pools of desktops made from a golden image");
  pool->require_subcommand(1);
  const auto add_specification = [&](CLI::App* added) {
    added->add_option("specification", arguments->specification, "The pool's specification, in TOML")
        ->required();
  };
  add_specification(
      verb(*pool, "plan", "Show what 'pool create' would write; nothing is written", plan_pool));
  add_specification(
      verb(*pool, "create", "Make the desktops; again after a failure, those that are missing", create_pool));
  verb(*pool, "list", "All pools", list_clone_pools);
  verb(*pool, "show", "A pool and its specification", show_pool)
      ->add_option("name", arguments->name, "The pool")
      ->required();
  auto* deleting = verb(*pool, "delete", "Delete a pool with its desktops and their disks", delete_pool);
  deleting->add_option("name", arguments->name, "The pool")->required();
  discard(with_data(deleting));

  auto* clone = app.add_subcommand("clone", "The desktops of pools");
  clone->require_subcommand(1);
  verb(*clone, "list", "All desktops, or those of a pool", list_clones)
      ->add_option("--pool", arguments->name, "Of this pool only");
  const auto add_clone = [&](CLI::App* added) {
    added->add_option("name", arguments->name, "The desktop's name")->required();
    return added;
  };
  add_clone(verb(*clone, "show", "A desktop and its disks", show_clone));
  add_clone(verb(*clone, "diff", "Read its disk back: what differs from the golden image", diff_clone));
  discard(add_clone(
      verb(*clone, "refresh", "Back to its reference snapshot, with a new identity", refresh_clone)));
  discard(with_data(add_clone(verb(*clone, "delete", "Delete a desktop and its disks", delete_clone))));
}

}  // namespace roamstead::cli
