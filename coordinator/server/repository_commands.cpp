// The repository as administrators see it: profiles, their versions, and whether all of it is whole.
#include "common/base/file_time.h"
#include "coordinator/metrics/metrics.h"
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

Result<json> show_status(const Invocation& call) {
  if (call.context.metrics == nullptr)
    return fail(ErrorCode::unavailable, "no coordinator runs on this repository");
  auto metrics = json::array();
  for (const auto& sample : call.context.metrics->samples()) {
    auto labels = json::array();
    for (const auto& [name, value] : sample.labels) labels.push_back({{"name", name}, {"value", value}});
    metrics.push_back({{"name", sample.name}, {"labels", std::move(labels)}, {"value", sample.value}});
  }
  return json{{"measured_100ns", now_100ns()}, {"metrics", std::move(metrics)}};
}

}  // namespace

void add_repository_commands(CommandTable& table) {
  table.add({"profile.list", Role::viewer, list_profiles, {}});
  table.add({"profile.versions", Role::viewer, list_versions, {}});
  table.add({"repository.statistics", Role::viewer, show_statistics, {}});
  table.add({"status.show", Role::viewer, show_status, {}});
  // Reads all of it, from storage that sessions need too.
  table.add({"repository.check", Role::operator_, check_repository, {}});
}

}  // namespace roamstead::server
