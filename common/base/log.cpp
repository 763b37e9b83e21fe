#include "common/base/log.h"

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace roamstead {
namespace {

constexpr std::size_t kMostBytes = 8192;
std::atomic<LogLevel> least_level = LogLevel::info;

std::function<void(LogLevel, const std::string&)>& sink() {
  static std::function<void(LogLevel, const std::string&)> instance = [](LogLevel level,
                                                                         const std::string& message) {
    constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
    std::fprintf(stderr, "%s: %s\n", kNames[static_cast<int>(level)], message.c_str());
  };
  return instance;
}

}  // namespace

void set_log_sink(std::function<void(LogLevel, const std::string&)> new_sink) {
  sink() = std::move(new_sink);
}
void set_log_level(LogLevel least) { least_level = least; }
void log_message(LogLevel level, const std::string& message) {
  if (level < least_level) return;
  // Names and texts of others are in it: each message stays one line.
  auto line = message.substr(0, kMostBytes);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  sink()(level, line);
}

}  // namespace roamstead
