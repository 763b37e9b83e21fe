#include "common/base/fault.h"

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace roamstead {
namespace {

struct Plan {
  std::string action;
  long countdown = 1;
};

struct Plans {
  std::mutex mutex;
  std::map<std::string, Plan, std::less<>> by_point;
};

Result<void> act(Plans& plans, std::string_view point) {
  std::string action;
  {
    std::lock_guard lock(plans.mutex);
    auto it = plans.by_point.find(point);
    if (it == plans.by_point.end() || --it->second.countdown != 0) return {};
    action = it->second.action;
  }
  if (action == "kill") std::_Exit(137);  // no destructor, no flush: as SIGKILL would leave things
  if (action == "error") return fail(ErrorCode::io, "fault injected at " + std::string(point));
  std::this_thread::sleep_for(std::chrono::milliseconds(std::stol(action.substr(6))));
  return {};
}

}  // namespace

Result<Faults> Faults::from_environment() {
  const char* text = std::getenv("ROAMSTEAD_FAULT");
  if (text == nullptr || *text == '\0') return Faults();
  auto plans = std::make_shared<Plans>();  // shared by the copies of the hook
  std::string_view rest = text;
  while (!rest.empty()) {
    auto item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    auto equals = item.find('=');
    if (equals == std::string_view::npos)
      return fail(ErrorCode::invalid_argument,
                  "ROAMSTEAD_FAULT: '" + std::string(item) + "' lacks '=ACTION'");
    auto point = std::string(item.substr(0, equals));
    Plan plan{std::string(item.substr(equals + 1)), 1};
    if (auto hash = point.find('#'); hash != std::string::npos) {
      plan.countdown = std::atol(point.c_str() + hash + 1);
      point.resize(hash);
    }
    bool delay = plan.action.rfind("delay:", 0) == 0 && plan.action.size() > 6 &&
                 plan.action.find_first_not_of("0123456789", 6) == std::string::npos;
    if (plan.countdown < 1 || (plan.action != "kill" && plan.action != "error" && !delay))
      return fail(ErrorCode::invalid_argument,
                  "ROAMSTEAD_FAULT: '" + std::string(item) + "' is not POINT[#N]=kill|error|delay:MS");
    plans->by_point[point] = plan;
  }
  return Faults([plans](std::string_view point) { return act(*plans, point); });
}

}  // namespace roamstead
