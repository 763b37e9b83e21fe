#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include <fmt/format.h>

#include "common/base/text.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {

CLI::App* Context::verb(CLI::App& noun, const std::string& name, const std::string& description,
                        std::function<Result<void>()> action) {
  auto* added = noun.add_subcommand(name, description);
  added->add_flag("--json", json, "Print the result as JSON");
  added->callback([this, action = std::move(action)] { run = action; });
  return added;
}

void Context::print(const nlohmann::json& value, const std::string& text) const {
  printed = true;
  if (json) {
    std::cout << value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    std::cout << text;
    if (!text.empty() && text.back() != '\n') std::cout << '\n';
  }
}

void Context::progress(const std::string& what, std::uint64_t done, std::uint64_t total) const {
  if (isatty(STDERR_FILENO) == 0) return;
  if (total == 0) {
    std::fprintf(stderr, "\r%s: %llu\033[K", what.c_str(), static_cast<unsigned long long>(done));
    return;
  }
  constexpr int kWidth = 30;
  auto filled = static_cast<int>(done * kWidth / total);
  std::fprintf(stderr, "\r%s [%s%s] %3d%%\033[K", what.c_str(),
               std::string(static_cast<std::size_t>(filled), '#').c_str(),
               std::string(static_cast<std::size_t>(kWidth - filled), ' ').c_str(),
               static_cast<int>(done * 100 / total));
}

void Context::end_progress() const {
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? std::to_string(bytes) + " B" : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  // Width in UTF-16 units: near enough to columns for the names shown here.
  auto width = [](const std::string& cell) {
    auto units = to_utf16(cell);
    return units ? units->size() : cell.size();
  };
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], width(row[i]));
    }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] - width(row[i]) + 2, ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace roamstead::cli
