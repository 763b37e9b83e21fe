#include "agent/fuse/linux_load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace roamstead::agent {
namespace {

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::uint64_t own_ticks() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = static_cast<std::uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
  const auto microseconds = static_cast<std::uint64_t>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  const auto per_second = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  return seconds * per_second + microseconds * per_second / 1'000'000;
}

class LinuxLoad final : public LoadPort {
 public:
  Result<SystemLoad> read() override {
    SystemLoad load;
    const auto now = std::chrono::steady_clock::now();
    const auto ticks = parse_processor_ticks(text_of("/proc/stat"));
    const auto own = own_ticks();
    const auto waited = parse_waiting_microseconds(text_of("/proc/pressure/io"));
    if (ticks && ticks_ && ticks->all > ticks_->all) {
      const auto ours = static_cast<double>(own - std::min(own, own_));
      const auto working = static_cast<double>(ticks->working - std::min(ticks->working, ticks_->working));
      load.processor = std::clamp((working - ours) / static_cast<double>(ticks->all - ticks_->all), 0.0, 1.0);
    }
    const auto passed = std::chrono::duration<double, std::micro>(now - at_).count();
    if (waited && waited_ && passed > 0)
      load.disk = std::clamp(static_cast<double>(*waited - std::min(*waited, *waited_)) / passed, 0.0, 1.0);
    ticks_ = ticks;
    own_ = own;
    waited_ = waited;
    at_ = now;
    return load;
  }

 private:
  std::optional<ProcessorTicks> ticks_;
  std::uint64_t own_ = 0;
  std::optional<std::uint64_t> waited_;
  std::chrono::steady_clock::time_point at_;
};

}  // namespace

// "cpu  user nice system idle iowait irq softirq steal guest guest_nice": guests' time is in user's already.
std::optional<ProcessorTicks> parse_processor_ticks(const std::string& text) {
  std::istringstream line(text.substr(0, text.find('\n')));
  std::string name;
  line >> name;
  if (name != "cpu") return std::nullopt;
  ProcessorTicks ticks;
  constexpr int kIdle = 3, kWaiting = 4, kFields = 8;
  for (int field = 0; field < kFields; ++field) {
    std::uint64_t count = 0;
    if (!(line >> count)) return field > kWaiting ? std::optional(ticks) : std::nullopt;
    ticks.all += count;
    if (field != kIdle && field != kWaiting) ticks.working += count;
  }
  return ticks;
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345"
std::optional<std::uint64_t> parse_waiting_microseconds(const std::string& text) {
  const auto line = text.substr(0, text.find('\n'));
  const auto at = line.find(" total=");
  if (line.rfind("some ", 0) != 0 || at == std::string::npos) return std::nullopt;
  std::uint64_t value = 0;
  const auto* begin = line.data() + at + 7;
  if (std::from_chars(begin, line.data() + line.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

std::unique_ptr<LoadPort> make_linux_load() { return std::make_unique<LinuxLoad>(); }

}  // namespace roamstead::agent
