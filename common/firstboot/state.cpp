#include "common/firstboot/state.h"

#include <nlohmann/json.hpp>

#include "common/firstboot/steps.h"

namespace roamstead::firstboot {
namespace {

using nlohmann::json;

constexpr std::pair<Status, std::string_view> kStatuses[] = {{Status::running, "running"},
                                                             {Status::restarting, "restarting"},
                                                             {Status::done, "done"},
                                                             {Status::failed, "failed"}};

Status status_from(const json& value) {
  const auto text = value.get<std::string>();
  for (const auto& [status, word] : kStatuses)
    if (word == text) return status;
  throw std::invalid_argument("'" + text + "' is no status");
}

StepState step_state_from(const json& each) {
  StepState step;
  step.name = each.at("name").get<std::string>();
  step.attempts = each.at("attempts").get<std::uint32_t>();
  step.status = status_from(each.at("status"));
  if (each.contains("exit")) step.exit = each["exit"].get<std::uint32_t>();
  step.error = each.value("error", "");
  step.began = each.value("began", "");
  step.ended = each.value("ended", "");
  return step;
}

}  // namespace

std::string_view to_string(Status status) {
  for (const auto& [each, word] : kStatuses)
    if (each == status) return word;
  return "";
}

std::string state_json(const State& state) {
  auto list = json::array();
  for (const auto& step : state.steps) {
    json each{{"name", step.name},   {"attempts", step.attempts}, {"status", to_string(step.status)},
              {"error", step.error}, {"began", step.began},       {"ended", step.ended}};
    if (step.exit) each["exit"] = *step.exit;
    list.push_back(std::move(each));
  }
  const json all{{"format", kFormat},
                 {"status", to_string(state.status)},
                 {"restarts", state.restarts},
                 {"error", state.error},
                 {"steps", list}};
  // What programs printed may be no UTF-8.
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<State> parse_state(std::string_view text, const std::string& source) {
  try {
    const auto all = json::parse(text);
    if (const auto format = all.at("format").get<int>(); format != kFormat)
      return fail(ErrorCode::unsupported, source + ": format " + std::to_string(format) +
                                              ", which only a newer version of this program reads");
    State state;
    state.status = status_from(all.at("status"));
    state.restarts = all.value("restarts", std::uint32_t{0});
    state.error = all.value("error", "");
    const auto& list = all.at("steps");
    if (!list.is_array() || list.size() > kMostSteps)
      return fail(ErrorCode::corrupt,
                  source + ": 'steps' is not a list of at most " + std::to_string(kMostSteps) + " steps");
    for (const auto& each : list) state.steps.push_back(step_state_from(each));
    return state;
  } catch (const std::exception& error) {
    return fail(ErrorCode::corrupt, source + ": " + error.what());
  }
}

}  // namespace roamstead::firstboot
