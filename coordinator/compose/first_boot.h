// What a desktop runs once at its first start (docs/format-firstboot.md), and who runs it where the image has
// no agent: roamstead-firstboot.exe, placed with its service entry.
#pragma once

#include "common/firstboot/steps.h"
#include "common/os/file.h"
#include "coordinator/compose/edit.h"

namespace roamstead::compose {

struct PoolSpec;
struct UnitContext;
struct WindowsImage;

// On the Windows volume: the scripts, and steps.json, which names them in their order.
inline constexpr const char* kFirstBootFolder = "ProgramData/Roamstead/firstboot/";
inline constexpr const char* kFirstBootProgram = "Program Files/Roamstead/roamstead-firstboot.exe";
inline constexpr const char* kFirstBootService = "RoamsteadFirstBoot";

// In their order: a raw user disk is formatted first. Empty: nothing is to run.
std::vector<firstboot::Step> first_boot_steps(const PoolSpec& spec);

// The program's content, from the place that the specification names or where the package has it; empty where
// it is not needed. ErrorCode::not_found when it is missing, unsupported for a Windows that cannot run it.
Result<Bytes> load_first_boot_program(os::FileSystem& files, const PoolSpec& spec, const WindowsImage& image);

// The units: scripts and manifest; nothing where nothing is to run.
Result<void> common_first_boot(const UnitContext& context, Edits& edits);
// The program and its service, where the context has one.
Result<void> common_first_boot_program(const UnitContext& context, Edits& edits);

}  // namespace roamstead::compose
