#include "agent/desktop/rotating_log.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace roamstead::agent {
namespace {

constexpr std::array<const char*, 4> kNames = {"debug", "info", "warning", "error"};

// Without the C library's calendar functions, which are others on Windows.
std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const auto day = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::milliseconds>(now - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count(),
                     time.subseconds().count());
}

}  // namespace

Result<LogLevel> parse_log_level(const std::string& text) {
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end()) return fail(ErrorCode::invalid_argument, "'" + text + "' is no log level");
  return static_cast<LogLevel>(found - kNames.begin());
}

Result<std::unique_ptr<RotatingLog>> RotatingLog::open(os::FileSystem& files, Options options) {
  RS_CHECK(files.make_directories(options.folder));
  std::unique_ptr<RotatingLog> log(new RotatingLog(files, std::move(options)));
  RS_CHECK(log->begin());
  return log;
}

std::string RotatingLog::path(std::uint64_t number) const {
  return os::join_path(options_.folder,
                       options_.name + (number == 0 ? "" : "." + std::to_string(number)) + ".log");
}

Result<void> RotatingLog::begin() {
  RS_TRY(file_, files_.open(path(), os::OpenMode::create));
  RS_TRY(size_, file_->size());
  return {};
}

// What cannot be put aside is given up: the log must not grow.
void RotatingLog::rotate() {
  file_.reset();
  if (options_.files > 1) (void)files_.remove(path(options_.files - 1));
  for (auto number = options_.files - 1; number > 0; --number)
    (void)files_.rename(path(number - 1), path(number));
  if (!begin() || size_ == 0) return;
  if (file_->truncate(0)) size_ = 0;  // it could not be put aside, or nothing is to be kept
}

void RotatingLog::write(LogLevel level, const std::string& text) {
  auto line = time_text() + " " + kNames[static_cast<std::size_t>(level)] + " " + text;
  std::replace_if(
      line.begin(), line.end(), [](char each) { return each == '\n' || each == '\r'; }, ' ');
  line += '\n';
  const std::lock_guard lock(mutex_);
  if (size_ != 0 && size_ + line.size() > options_.most_bytes) rotate();
  if (!file_ && !begin()) return;
  if (file_->write_at(size_, as_bytes(line))) size_ += line.size();
}

}  // namespace roamstead::agent
