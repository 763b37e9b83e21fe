// Commands of a specification, filled in for one machine and run.
#pragma once

#include <map>

#include "coordinator/hypervisor/vm.h"
#include "coordinator/hypervisor/vm_spec.h"

namespace roamstead::hypervisor {

using Substitutes = std::map<std::string, std::string>;
Substitutes substitutes_of(const Vm& vm, const std::string& directory, const std::string& top = "");

// "{name}" and the others replaced; other braces stay.
std::string fill_in(const std::string& text, const Substitutes& substitutes);

// Its standard output. ErrorCode::io with what it wrote when it ends with another status than 0.
Result<std::string> run_for(const Vm& vm, const VmCommands::Words& words, const Substitutes& substitutes,
                            std::chrono::seconds within);

// The last line of text that holds something; "" where none does.
std::string last_line(const std::string& text);

}  // namespace roamstead::hypervisor
