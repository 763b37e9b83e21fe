#include "agent/win/win_load.h"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "tests/support/must.h"

namespace roamstead::agent {
namespace {

TEST_CASE("this Windows tells shares of 0 to 1, of its processors at least") {
  const auto port = make_win_load("C:");
  CHECK_FALSE(support::must(port->read()).processor);  // since when?
  int told = 0;
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto load = support::must(port->read());
    if (load.processor) {
      ++told;
      CHECK(*load.processor >= 0);
      CHECK(*load.processor <= 1);
    }
    if (load.disk) CHECK((*load.disk >= 0 && *load.disk <= 1));
  }
  CHECK(told > 0);
}

}  // namespace
}  // namespace roamstead::agent
