// How busy this machine is, by /proc/stat and, where the kernel has it, /proc/pressure/io.
#pragma once

#include <memory>
#include <string>

#include "agent/core/system_load.h"

namespace roamstead::agent {

// Ticks of all processors since the start.
struct ProcessorTicks {
  std::uint64_t working = 0, all = 0;
};
// Of /proc/stat's text; nothing where it is none.
std::optional<ProcessorTicks> parse_processor_ticks(const std::string& text);
// Microseconds in which somebody waited for a disk, of /proc/pressure/io's text.
std::optional<std::uint64_t> parse_waiting_microseconds(const std::string& text);

std::unique_ptr<LoadPort> make_linux_load();

}  // namespace roamstead::agent
