// roamstead repo: the repository as a whole.
#include <fmt/format.h>

#include "coordinator/cli/repository_access.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

Result<void> init(const RepositoryChoice& choice, const Context& context) {
  RS_TRY(auto options, choice.options(false));
  RS_CHECK(repository::Repository::init(os::real_file_system(), options));
  context.print({{"directory", options.directory}, {"state", options.state_directory}},
                fmt::format("Made the repository {}.\nIts keys are in {}: keep a copy of them elsewhere.",
                            options.directory, os::join_path(options.directory, "keystore")));
  return {};
}

Result<void> check(const RepositoryChoice& choice, const Context& context) {
  RS_TRY(auto repository, open_for_reading(choice));
  auto result = repository->check(
      [&](std::uint64_t done, std::uint64_t total) { context.progress("checking", done, total); });
  context.end_progress();
  RS_TRY(auto report, std::move(result));
  std::string text;
  for (const auto& problem : report.problems) text += problem + "\n";
  text += fmt::format(
      "{} objects, {} versions: {}", report.objects_checked, report.versions_checked,
      report.problems.empty() ? "no problems" : std::to_string(report.problems.size()) + " problems");
  context.print({{"objects", report.objects_checked},
                 {"versions", report.versions_checked},
                 {"problems", report.problems}},
                text);
  if (!report.problems.empty())
    return fail(ErrorCode::corrupt,
                "the repository is damaged: " + std::to_string(report.problems.size()) + " problems");
  return {};
}

Result<void> statistics(const RepositoryChoice& choice, const Context& context) {
  RS_TRY(auto repository, open_for_reading(choice));
  RS_TRY(auto sums, repository->statistics());
  context.print({{"profiles", sums.profiles},
                 {"versions", sums.versions},
                 {"objects", sums.objects},
                 {"packs", sums.packs},
                 {"pack_bytes", sums.pack_bytes},
                 {"logical_bytes", sums.logical_bytes}},
                table({{"profiles", std::to_string(sums.profiles)},
                       {"versions", std::to_string(sums.versions)},
                       {"objects", std::to_string(sums.objects)},
                       {"content of objects", human_bytes(sums.logical_bytes)},
                       {"packs", std::to_string(sums.packs)},
                       {"on storage", human_bytes(sums.pack_bytes)}}));
  return {};
}

Result<void> rebuild(const RepositoryChoice& choice, const Context& context) {
  RS_TRY(auto options, choice.options(false));
  RS_CHECK(repository::Repository::rebuild_catalog(os::real_file_system(), options));
  RS_TRY(auto repository, open_for_reading(choice));
  RS_TRY(auto sums, repository->statistics());
  context.print({{"profiles", sums.profiles}, {"versions", sums.versions}, {"objects", sums.objects}},
                fmt::format("The catalog is new: {} profiles, {} versions, {} objects.", sums.profiles,
                            sums.versions, sums.objects));
  return {};
}

}  // namespace

void add_repo_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("repo", "The repository as a whole");
  noun->require_subcommand(1);
  auto choice = std::make_shared<RepositoryChoice>();  // shared by the verbs, of which one runs
  auto add = [&](const std::string& name, const std::string& description,
                 Result<void> (*action)(const RepositoryChoice&, const Context&)) {
    auto* verb = context.verb(*noun, name, description,
                              [choice, action, &context] { return action(*choice, context); });
    choice->add_to_with_positional(*verb);
  };
  add("init", "Make a new, empty repository", init);
  add("check", "Read everything back and name what is broken", check);
  add("stats", "Count profiles, versions, objects and bytes", statistics);
  add("rebuild-catalog", "Make the catalog anew from packs and keystore", rebuild);
}

}  // namespace roamstead::cli
