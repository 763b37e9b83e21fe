// A log file that does not grow without end: agent.log; when it has reached its size it becomes agent.1.log,
// what was that agent.2.log, and so on; the oldest goes.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "common/base/log.h"
#include "common/os/file.h"

namespace roamstead::agent {

// Thread-safe. A line that cannot be written is dropped: logging never stops what is logged.
class RotatingLog {
 public:
  struct Options {
    std::string folder;  // made when missing
    std::string name = "agent";
    std::uint64_t most_bytes = 1 << 20;  // of one file
    std::uint64_t files = 5;             // with the present one
  };
  // `files` must outlive this.
  static Result<std::unique_ptr<RotatingLog>> open(os::FileSystem& files, Options options);

  // "2026-11-22T19:00:00Z warning text"; ends of lines in it become spaces.
  void write(LogLevel level, const std::string& text);
  std::string path(std::uint64_t number = 0) const;  // 0: the present one

 private:
  RotatingLog(os::FileSystem& files, Options options) : files_(files), options_(std::move(options)) {}
  Result<void> begin();
  void rotate();

  os::FileSystem& files_;
  const Options options_;
  std::mutex mutex_;
  std::unique_ptr<os::File> file_;
  std::uint64_t size_ = 0;
};

Result<LogLevel> parse_log_level(const std::string& text);

}  // namespace roamstead::agent
