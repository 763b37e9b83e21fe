#include "coordinator/compose/spec_first_boot.h"

#include "common/base/text.h"
#include "coordinator/compose/refused.h"
#include "coordinator/compose/spec_reader.h"

namespace roamstead::compose {
namespace {

using firstboot::StepKind;

Result<void> take_name_of_step(const PoolSpec& spec, FirstBootScript& script, const std::string& name) {
  for (const auto& other : spec.scripts)
    if (same_name(other.name, name)) return refused("'" + name + "' is there twice");
  script.name = name;
  return {};
}

}  // namespace

void read_first_boot_step(SpecTable& table, PoolSpec& spec,
                          const std::function<Result<Bytes>(const std::string&)>& read) {
  FirstBootScript script;
  bool source = false, step = false;
  table.text("source", [&](const std::string& value) -> Result<void> {
    source = true;
    const auto name = os::base_name(value);
    RS_CHECK(firstboot::check_script_name(name));
    RS_CHECK(take_name_of_step(spec, script, name));
    RS_TRY(script.content, read(value));
    return {};
  });
  table.text("step", [&](const std::string& value) -> Result<void> {
    step = true;
    script.kind = firstboot::parse_step_kind(value);
    if (script.kind != StepKind::assign_drive_letter && script.kind != StepKind::activate)
      return refused("'" + value + "' is neither assign-drive-letter nor activate" +
                     (script.kind == StepKind::format_data_disk
                          ? "; a user disk with mode = \"raw\" is formatted without being asked"
                          : ""));
    return {};
  });
  if (source == step) table.note(source ? "has both 'source' and 'step'" : "needs 'source' or 'step'");
  if (script.kind == StepKind::assign_drive_letter) {
    table.require("letter");
    table.require("label");
    table.text("letter", [&](const std::string& value) -> Result<void> {
      RS_CHECK(firstboot::check_letter(value));
      script.letter = value[0];
      return {};
    });
    table.text("label", [&](const std::string& value) -> Result<void> {
      RS_CHECK(firstboot::check_label(value));
      script.label = value;
      return {};
    });
  }
  if (script.kind != StepKind::script) {
    // One letter may be given after another.
    auto name = std::string(to_string(script.kind));
    if (script.kind == StepKind::assign_drive_letter) name += std::string("-") + script.letter;
    if (auto taken = take_name_of_step(spec, script, name); !taken)
      table.note_at("step", taken.error().to_string());
  }
  std::uint64_t attempts = script.attempts, timeout = script.timeout_seconds;
  table.number("attempts", 1, firstboot::kMostAttempts, attempts);
  table.number("timeout_seconds", 1, firstboot::kLongestTimeout_s, timeout);
  script.attempts = static_cast<std::uint32_t>(attempts);
  script.timeout_seconds = static_cast<std::uint32_t>(timeout);
  spec.scripts.push_back(std::move(script));
}

void read_first_boot_section(SpecTable& table, PoolSpec& spec) {
  table.text("program", [&](const std::string& value) -> Result<void> {
    if (value.empty() || value.front() != '/') return refused("expected an absolute path on this host");
    spec.first_boot_program = value;
    return {};
  });
}

}  // namespace roamstead::compose
