// The repository as administrators see it: profiles, their versions, and whether all of it is whole.
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr std::size_t kMostProblemsShown = 200;

Result<json> list_profiles(const Invocation& call) {
  RS_TRY(auto profiles, call.context.repository.profiles());
  auto all = json::array();
  for (const auto& profile : profiles)
    all.push_back({{"profile", profile.name}, {"id", profile.id.to_string()}, {"head", profile.head}});
  return json{{"profiles", std::move(all)}};
}

Result<json> list_versions(const Invocation& call) {
  RS_TRY(auto name, text_field(call.request, "profile"));
  RS_TRY(auto profile, call.context.repository.find_profile(name));
  RS_TRY(auto versions, call.context.repository.versions(profile.id));
  auto all = json::array();
  for (const auto& version : versions) all.push_back(admin::to_json(version));
  return json{{"profile", profile.name}, {"versions", std::move(all)}};
}

Result<json> show_statistics(const Invocation& call) {
  RS_TRY(auto sums, call.context.repository.statistics());
  return json{{"profiles", sums.profiles},     {"versions", sums.versions},
              {"objects", sums.objects},       {"packs", sums.packs},
              {"pack_bytes", sums.pack_bytes}, {"logical_bytes", sums.logical_bytes}};
}

Result<json> check_repository(const Invocation& call) {
  RS_TRY(auto report, call.context.repository.check([&](std::uint64_t done, std::uint64_t total) {
    if (call.progress) call.progress({"checking", done, total});
  }));
  const auto found = report.problems.size();
  if (found > kMostProblemsShown) report.problems.resize(kMostProblemsShown);
  return json{{"objects", report.objects_checked},
              {"versions", report.versions_checked},
              {"problem_count", found},
              {"problems", std::move(report.problems)}};
}

}  // namespace

void add_repository_commands(CommandTable& table) {
  table.add({"profile.list", Role::viewer, list_profiles, {}});
  table.add({"profile.versions", Role::viewer, list_versions, {}});
  table.add({"repository.statistics", Role::viewer, show_statistics, {}});
  // Reads all of it, from storage that sessions need too.
  table.add({"repository.check", Role::operator_, check_repository, {}});
}

}  // namespace roamstead::server
