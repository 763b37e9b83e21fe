#include "agent/firstboot/command.h"

#include "common/base/text.h"

namespace roamstead::firstboot {
namespace {

constexpr const char* kCommandProcessor = "%SystemRoot%\\System32\\cmd.exe";
constexpr const char* kPowerShell = "%SystemRoot%\\System32\\WindowsPowerShell\\v1.0\\powershell.exe";
constexpr const char* kPowerShellOptions = " -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass ";

std::string quoted(const std::string& text) { return '"' + text + '"'; }

// Of UTF-16LE, as -EncodedCommand takes it: no character of a script can be taken for one of the line's.
std::string encoded(std::u16string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes, out;
  for (const auto unit : text) {
    bytes += static_cast<char>(unit & 0xff);
    bytes += static_cast<char>(unit >> 8);
  }
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i)
      out += at + i > bytes.size() ? '=' : kDigits[group >> (18 - 6 * i) & 63];
  }
  return out;
}

}  // namespace

Result<Command> command_of(const Step& step, const std::string& scripts) {
  Command command{kPowerShell, "", scripts};
  const auto file = scripts + "\\" + step.name;
  switch (step.kind) {
    case StepKind::script:
      if (step.name.ends_with(".exe")) {
        command.program = file;
        command.line = quoted(file);
      } else if (step.name.ends_with(".ps1")) {
        command.line = quoted(kPowerShell) + kPowerShellOptions + "-File " + quoted(file);
      } else {
        command.program = kCommandProcessor;
        // With /s the first and the last quote go, and what is between them is the command as it stands.
        command.line = quoted(kCommandProcessor) + " /d /s /c " + quoted(quoted(file));
      }
      return command;
    case StepKind::format_data_disk:
    case StepKind::assign_drive_letter:
    case StepKind::activate: {
      RS_TRY(const auto script, to_utf16(built_in_script(step)));
      command.line = quoted(kPowerShell) + kPowerShellOptions + "-EncodedCommand " + encoded(script);
      return command;
    }
    case StepKind::unknown:
      break;
  }
  return fail(ErrorCode::unsupported, "a kind of step that only a newer version of this program knows");
}

}  // namespace roamstead::firstboot
