#include "common/base/log.h"

#include <atomic>
#include <cstdio>

namespace roamstead {
namespace {

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
  if (level >= least_level) sink()(level, message);
}

}  // namespace roamstead
