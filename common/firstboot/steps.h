// What a desktop runs once at its first start: steps.json (docs/format-firstboot.md). Written by the
// coordinator, read on the desktop.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::firstboot {

inline constexpr int kFormat = 1;
inline constexpr std::uint64_t kMostStepsBytes = 1u << 20;  // of steps.json, and of state.json
inline constexpr std::size_t kMostSteps = 1000;
inline constexpr std::uint32_t kMostAttempts = 10;
inline constexpr std::uint32_t kLongestTimeout_s = 24 * 3600;
inline constexpr std::size_t kLongestLabel = 32;  // UTF-16 units: what NTFS takes

// unknown: of a later version; it fails when its turn comes.
enum class StepKind : std::uint8_t { script, format_data_disk, assign_drive_letter, activate, unknown };
std::string_view to_string(StepKind kind);  // as in the file: "format-data-disk"; "unknown"
StepKind parse_step_kind(std::string_view text);

struct Step {
  StepKind kind = StepKind::script;
  std::string name;  // of a script: its file's
  std::uint32_t attempts = 3;
  std::uint32_t timeout_seconds = 600;
  // Of format-data-disk, all; of assign-drive-letter, letter and label.
  std::uint64_t disk_bytes = 0;
  bool mbr = false;
  char letter = 'D';
  std::string label;
};

// A file name that Windows takes, and that means nothing to cmd.exe within quotes; its ending says how it is
// run: .cmd, .bat, .ps1 or .exe.
Result<void> check_script_name(const std::string& name);
Result<void> check_label(const std::string& label);
Result<void> check_letter(const std::string& text);  // "D" to "Z"

std::string steps_json(const std::vector<Step>& steps);
// ErrorCode::unsupported for a later format.
Result<std::vector<Step>> parse_steps(std::string_view text, const std::string& source);

}  // namespace roamstead::firstboot
