// A desktop's virtual machine, as far as Roamstead knows it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "common/base/result.h"

namespace roamstead::hypervisor {

// What a hypervisor attaches. `format` is "raw", "vhdx", "vhd", "qcow2" or "vmdk".
struct VmDisk {
  std::string path;  // on the host; absolute
  std::string format;
  bool has_parent = false;  // the top of a chain
};

struct Vm {
  std::string name;  // the desktop's
  std::string pool;
  std::uint64_t number = 0;
  Guid uuid;
  std::uint64_t mac = 0;      // 48 bits
  std::vector<VmDisk> disks;  // the first is what it starts from
  std::string definition;     // the file that defines it; "" where the hypervisor needs none
};

int hexadecimal(char digit);  // its value; -1: no digit
// "52:54:00:0a:00:01", and back: ErrorCode::invalid_argument for what is no address of one adapter.
std::string mac_text(std::uint64_t mac);
Result<std::uint64_t> parse_mac(const std::string& text);

// The same for a pool and desktop always, so that a definition made again is of the same machine.
Guid vm_uuid(const std::string& pool, const std::string& name);

// Addresses for `count` desktops, beginning with the one returned: a place in `range_bits` bits above `base`
// that depends on the pool's name alone.
std::uint64_t first_mac(std::uint64_t base, unsigned range_bits, const std::string& pool,
                        std::uint64_t count);

enum class Power : std::uint8_t { off, on, unknown };
std::string_view to_string(Power power);
// What hypervisors call it: "running", "shut off", "halted", "poweredOn" ...; unknown for other words.
Power parse_power(std::string_view text);

}  // namespace roamstead::hypervisor
