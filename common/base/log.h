// Diagnostic messages of the libraries. Programs decide where they go; secrets never come here.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>

namespace roamstead {

enum class LogLevel { debug, info, warning, error };

// Replaces the sink (default: standard error, info and above). Call before threads start.
void set_log_sink(std::function<void(LogLevel, const std::string&)> sink);
void set_log_level(LogLevel least);
void log_message(LogLevel level, const std::string& message);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace roamstead
