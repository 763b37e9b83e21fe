#include "agent/desktop/first_boot_report.h"

namespace roamstead::agent {
namespace {

Result<std::string> text_if_there(os::FileSystem& files, const std::string& path) {
  RS_TRY(const bool there, files.exists(path));
  if (!there) return std::string();
  RS_TRY(const auto content, os::read_file(files, path, wire::kMostFirstBootBytes));
  return std::string(as_text(content));
}

}  // namespace

Result<wire::FirstBootReport> read_first_boot(os::FileSystem& files, const std::string& volume) {
  return read_first_boot_folder(files, os::join_path(volume, "ProgramData/Roamstead/firstboot"));
}

Result<wire::FirstBootReport> read_first_boot_folder(os::FileSystem& files, const std::string& folder) {
  wire::FirstBootReport report;
  RS_TRY(report.steps, text_if_there(files, os::join_path(folder, "steps.json")));
  RS_TRY(report.state, text_if_there(files, os::join_path(folder, "state.json")));
  return report;
}

}  // namespace roamstead::agent
