#include "coordinator/compose/first_boot.h"

#include "coordinator/compose/unit_tools.h"

namespace roamstead::compose {
namespace {

using firstboot::Step;
using firstboot::StepKind;

constexpr const char* kPackagedProgram = "/usr/lib/roamstead/windows/roamstead-firstboot.exe";
constexpr std::uint64_t kMostProgramBytes = 64u << 20;

void place(Edits& edits, const std::string& name, ByteView content) {
  edits.files.push_back({kFirstBootFolder + name, Bytes(content.begin(), content.end()), true, ""});
}

// As the service manager keeps what is to be done after failures: when they are forgotten (s), no message, no
// command, how many actions there are and where, then for each what (1: start again) and after which time
// (ms).
Bytes restart_after_failures() {
  Bytes data;
  for (const std::uint32_t number : {3600u, 0u, 0u, 4u, 20u, 1u, 5'000u, 1u, 30'000u, 1u, 60'000u, 0u, 0u}) {
    const auto bytes = registry_number(number);
    data.insert(data.end(), bytes.begin(), bytes.end());
  }
  return data;
}

}  // namespace

std::vector<Step> first_boot_steps(const PoolSpec& spec) {
  std::vector<Step> steps;
  if (spec.user_disk && !spec.user_disk->formatted) {
    Step format;
    format.kind = StepKind::format_data_disk;
    format.name = std::string(to_string(format.kind));
    format.disk_bytes = spec.user_disk->size_bytes;
    format.mbr = spec.user_disk->mbr;
    format.letter = spec.user_disk->letter;
    format.label = spec.user_disk->label;
    steps.push_back(std::move(format));
  }
  for (const auto& script : spec.scripts) {
    Step step;
    step.kind = script.kind;
    step.name = script.name;
    step.attempts = script.attempts;
    step.timeout_seconds = script.timeout_seconds;
    step.letter = script.letter;
    step.label = script.label;
    steps.push_back(std::move(step));
  }
  return steps;
}

Result<Bytes> load_first_boot_program(os::FileSystem& files, const PoolSpec& spec,
                                      const WindowsImage& image) {
  if (!image.agent.empty() || first_boot_steps(spec).empty()) return Bytes();
  // Windows 11 on ARM runs it too; a Windows of 32 bits does not.
  if (image.architecture != "AMD64" && image.architecture != "ARM64")
    return fail(
        ErrorCode::unsupported,
        "the image has no agent, and roamstead-firstboot.exe, which would run the scripts, does not run on " +
            image.architecture + ": install the agent in the image");
  const auto& path = spec.first_boot_program.empty() ? kPackagedProgram : spec.first_boot_program;
  RS_TRY(const bool there, files.exists(path));
  if (!there)
    return fail(
        ErrorCode::not_found,
        path +
            ": is not there. The image has no agent, and this program would run what the pool has for the "
            "first start: install package roamstead-coordinator, or name it in first_boot.program");
  RS_TRY(auto program, os::read_file(files, path, kMostProgramBytes));
  if (program.size() < 2 || as_text(ByteView(program).first(2)) != "MZ")
    return fail(ErrorCode::invalid_argument, path + ": is no Windows program");
  return program;
}

Result<void> common_first_boot(const UnitContext& context, Edits& edits) {
  const auto steps = first_boot_steps(context.spec);
  if (steps.empty()) return {};
  if (steps.size() > firstboot::kMostSteps)
    return fail(ErrorCode::invalid_argument,
                "more than " + std::to_string(firstboot::kMostSteps) + " steps for the first start");
  // First: with it the folder is made, for SYSTEM and Administrators alone.
  place(edits, "steps.json", as_bytes(firstboot::steps_json(steps)));
  for (const auto& script : context.spec.scripts)
    if (script.kind == StepKind::script) place(edits, "scripts/" + script.name, script.content);
  return {};
}

Result<void> common_first_boot_program(const UnitContext& context, Edits& edits) {
  if (context.first_boot_program == nullptr || context.first_boot_program->empty()) return {};
  edits.files.push_back({kFirstBootProgram, *context.first_boot_program, false, ""});
  // The same that its 'install' makes (agent/firstboot/win/service_win.cpp).
  constexpr std::uint32_t kOwnProcess = 0x10, kAutomatic = 2, kNormal = 1;
  const auto key = in_control_set(context, std::string("Services\\") + kFirstBootService);
  auto& list = edits.registry;
  list.push_back(set_number(HiveId::system, key, "Type", kOwnProcess));
  list.push_back(set_number(HiveId::system, key, "Start", kAutomatic));
  list.push_back(set_number(HiveId::system, key, "ErrorControl", kNormal));
  list.push_back(
      set_data(HiveId::system, key, "ImagePath", kExpandString,
               registry_string("\"%ProgramFiles%\\Roamstead\\roamstead-firstboot.exe\" --service")));
  list.push_back(set_string(HiveId::system, key, "ObjectName", "LocalSystem"));
  list.push_back(set_string(HiveId::system, key, "DisplayName", "Roamstead first boot"));
  list.push_back(
      set_string(HiveId::system, key, "Description",
                 "Runs what is to run once on this desktop, reports the result, and removes itself."));
  list.push_back(set_data(HiveId::system, key, "FailureActions",
                          static_cast<std::uint32_t>(registry::ValueType::binary), restart_after_failures()));
  list.push_back(set_number(HiveId::system, key, "FailureActionsOnNonCrashFailures", 1));
  return {};
}

}  // namespace roamstead::compose
