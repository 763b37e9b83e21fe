#include "agent/core/system_load.h"

#include <doctest/doctest.h>

namespace roamstead::agent {
namespace {

using Clock = LoadJudge::Clock;
using std::chrono::seconds;

SystemLoad of(double processor, double disk = 0) { return {processor, disk, false}; }

// A reading a second.
struct Hours {
  LoadJudge judge;
  Clock::time_point now{};
  LoadReason after(const SystemLoad& load, int readings = 1) {
    auto reason = LoadReason::none;
    for (int i = 0; i < readings; ++i) reason = judge.judge(load, now += seconds(1));
    return reason;
  }
};

TEST_CASE("a busy moment is not a busy machine") {
  Hours hours;
  CHECK(hours.after(of(1)) == LoadReason::none);
  CHECK(hours.after(of(0.1)) == LoadReason::none);
  CHECK(hours.after(of(1)) == LoadReason::none);
  CHECK(hours.after(of(1)) == LoadReason::processor);
}

TEST_CASE("between the limits all stays as it is, whichever way it came there") {
  Hours hours;
  CHECK(hours.after(of(0.7, 0.5), 50) == LoadReason::none);
  CHECK(hours.after(of(0.9), 2) == LoadReason::processor);
  CHECK(hours.after(of(0.7, 0.5), 50) == LoadReason::processor);
  CHECK(hours.after(of(0.5), 2) == LoadReason::processor);
  CHECK(hours.after(of(0.7)) == LoadReason::processor);  // not three in a row
  CHECK(hours.after(of(0.5), 3) == LoadReason::none);
}

TEST_CASE("disk and battery count as well; what a system does not say does not") {
  Hours hours;
  CHECK(hours.after({{}, {}, false}, 10) == LoadReason::none);
  CHECK(hours.after({{}, 0.9, false}, 2) == LoadReason::disk);
  CHECK(hours.after({{}, 0.1, false}, 3) == LoadReason::none);
  CHECK(hours.after({0.0, 0.0, true}, 2) == LoadReason::battery);
  CHECK(hours.after({0.0, 0.0, true}, 10) == LoadReason::battery);
  CHECK(hours.after(of(0), 3) == LoadReason::none);
}

TEST_CASE("a machine that is never quiet gets its profile in the end") {
  Hours hours;
  int went_on = 0, changes = 0;
  auto before = LoadReason::none;
  for (int i = 0; i < 3600; ++i) {
    const auto reason = hours.after(of(1));
    went_on += reason == LoadReason::none ? 1 : 0;
    changes += reason != before ? 1 : 0;
    before = reason;
  }
  CHECK(went_on > 3600 / 320 * 20 - 60);
  CHECK(went_on < 3600 / 10);
  CHECK(changes < 30);
}

}  // namespace
}  // namespace roamstead::agent
