#include "agent/fuse/linux_load.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/must.h"

namespace roamstead::agent {
namespace {

TEST_CASE("what the kernel says of its processors and disks is read; other text is nothing") {
  const auto ticks = parse_processor_ticks("cpu  10 1 5 100 20 2 3 4 9 0\ncpu0 1 2 3\n");
  REQUIRE(ticks);
  CHECK(ticks->all == 145);
  CHECK(ticks->working == 25);
  for (const char* text : {"", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5", "nonsense"})
    CHECK_FALSE(parse_processor_ticks(text));
  CHECK(parse_waiting_microseconds(
            "some avg10=0.10 avg60=0.00 avg300=0.00 total=123456\nfull avg10=0 total=7") == 123456);
  for (const char* text : {"", "some avg10=0.10", "full avg10=0.0 total=7", "some total=", "some total=x"})
    CHECK_FALSE(parse_waiting_microseconds(text));
}

// No bounds on how much: other programs run here too. What this process does itself does not count.
TEST_CASE("this machine tells shares of 0 to 1, of its processors at least") {
  const auto port = make_linux_load();
  CHECK_FALSE(support::must(port->read()).processor);  // since when?
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) std::this_thread::yield();
  });
  int told = 0;
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto load = support::must(port->read());
    if (load.processor) {
      ++told;
      CHECK(*load.processor >= 0);
      CHECK(*load.processor <= 1);
    }
    if (load.disk) CHECK((*load.disk >= 0 && *load.disk <= 1));
  }
  stop = true;
  busy.join();
  CHECK(told > 0);
}

}  // namespace
}  // namespace roamstead::agent
