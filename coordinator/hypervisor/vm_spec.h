// What an administrator says of a pool's virtual machines: the section [vm] of its specification.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace roamstead::hypervisor {

enum class AdapterKind : std::uint8_t { libvirt, vmware, command };

// Programs with their arguments. No shell is involved; {name} and the others of placeholders() are replaced
// in every argument but the program itself, which is an absolute path. Empty: not given.
struct VmCommands {
  using Words = std::vector<std::string>;
  Words define, undefine, power_on, power_off, power_state, freeze, merge;
};

struct VmSpec {
  AdapterKind adapter = AdapterKind::libvirt;
  std::string template_text;    // of the definition; "" none, or a pool that is made already
  std::string template_source;  // its file, for messages
  bool has_template = false;
  std::string directory;               // of the definitions; absolute
  std::uint64_t first_mac = 0;         // of the first desktop; the others count on from it
  bool power_on = false;               // when all of the pool is made
  std::uint32_t parallel = 4;          // commands at once
  std::chrono::seconds timeout{60};    // of each command
  std::string uri = "qemu:///system";  // of libvirt
  std::vector<std::string> formats;    // that a `command` adapter's hypervisor attaches
  VmCommands commands;
  std::uint32_t snapshot_seconds = 60;  // between snapshots of a running desktop; 0: on request only
};

// ErrorCode::invalid_argument for a program that is no absolute path, and for unknown {placeholders}.
Result<void> check_command(const VmCommands::Words& words);
// "name", "uuid", "mac", "pool", "number", "disk", "format", "data_disk", "definition", "directory", "top",
// "upper", "lower", "index".
std::vector<std::string> placeholders();

}  // namespace roamstead::hypervisor
