// roamstead profile forks, merge, discard.
#include <fmt/format.h>

#include "coordinator/admin/fork_commands.h"
#include "coordinator/cli/profile_version.h"
#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct ForkArguments {
  RepositoryChoice choice;
  std::string profile;
  std::uint64_t fork = 0;
  bool all = false;
  bool dry_run = false;
};

Result<void> show_forks(const ForkArguments& arguments, const Context& context) {
  RS_TRY(auto repository, open_for_reading(arguments.choice));
  RS_TRY(auto result,
         admin::list_forks(*repository, {{"profile", arguments.profile}, {"all", arguments.all}}));
  std::vector<std::vector<std::string>> rows{
      {"FORK", "BASE", "VERSIONS", "RECORDS", "DESKTOP", "COMMITTED", "STATE"}};
  for (const auto& fork : result["forks"]) {
    auto merged = fork["merged"].get<std::uint64_t>();
    rows.push_back({std::to_string(fork["fork"].get<std::uint64_t>()),
                    std::to_string(fork["base"].get<std::uint64_t>()),
                    std::to_string(fork["versions"].get<std::uint64_t>()),
                    std::to_string(fork["records"].get<std::uint64_t>()),
                    fork["desktop"].get<std::string>().empty() ? "-" : fork["desktop"].get<std::string>(),
                    seconds_text(fork["committed_100ns"].get<std::uint64_t>()),
                    merged != 0              ? "merged as " + std::to_string(merged)
                    : fork["discarded"] != 0 ? "discarded"
                                             : "open"});
  }
  context.print(result, result["forks"].empty() ? "No forks.\n" : table(rows));
  return {};
}

Result<void> merge_one_fork(const ForkArguments& arguments, const Context& context) {
  RS_TRY(auto result, run_command(arguments.choice,
                                  {{"command", "profile.merge"},
                                   {"profile", arguments.profile},
                                   {"fork", arguments.fork},
                                   {"dry_run", arguments.dry_run}},
                                  context));
  std::string text;
  for (const auto& conflict : result["conflicts"])
    text += fmt::format("conflict: {}: {}\n", conflict["path"].get<std::string>(),
                        conflict["text"].get<std::string>());
  auto changes = fmt::format("{} changes of fork {} since version {}, {} conflicts",
                             result["records"].get<std::uint64_t>(), arguments.fork,
                             result["base"].get<std::uint64_t>(), result["conflicts"].size());
  text += arguments.dry_run
              ? "Would bring " + changes + "."
              : fmt::format("{}@{}: {}.", arguments.profile, result["version"].get<std::uint64_t>(), changes);
  context.print(result, text);
  return {};
}

Result<void> discard_one_fork(const ForkArguments& arguments, const Context& context) {
  RS_TRY(
      auto result,
      run_command(arguments.choice,
                  {{"command", "profile.discard"}, {"profile", arguments.profile}, {"fork", arguments.fork}},
                  context));
  context.print(result, fmt::format("Fork {} of {} is discarded.", arguments.fork, arguments.profile));
  return {};
}

}  // namespace

void add_profile_fork_verbs(CLI::App& noun, Context& context) {
  auto arguments = std::make_shared<ForkArguments>();  // shared by the verbs, of which one runs
  auto add = [&](const std::string& name, const std::string& description,
                 Result<void> (*action)(const ForkArguments&, const Context&)) {
    auto* verb = context.verb(noun, name, description,
                              [arguments, action, &context] { return action(*arguments, context); });
    arguments->choice.add_to(*verb);
    verb->add_option("profile", arguments->profile, "The profile's name")->required();
    return verb;
  };
  add("forks", "Versions that were saved beside the head", show_forks)
      ->add_flag("--all", arguments->all, "Merged and discarded ones too");
  auto* merged =
      add("merge", "Bring a fork's changes to the head, per file and per registry value", merge_one_fork);
  merged->add_option("fork", arguments->fork, "The fork, by its version")->required();
  merged->add_flag("--dry-run", arguments->dry_run, "Only say what would happen");
  add("discard", "Mark a fork as not wanted", discard_one_fork)
      ->add_option("fork", arguments->fork, "The fork, by its version")
      ->required();
}

}  // namespace roamstead::cli
