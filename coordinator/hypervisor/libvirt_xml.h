// libvirt domain XML, made from a template (https://libvirt.org/formatdomain.html).
#pragma once

#include "coordinator/hypervisor/vm.h"

namespace roamstead::hypervisor {

inline constexpr std::size_t kMostTemplateBytes = 1u << 20;

// The template with the machine's name, uuid, address and disks. Hard disks of the template are taken out;
// the first of them says how ours are attached (bus, cache). What two machines cannot share (generated
// addresses, NVRAM files, sockets, fixed ports of displays, ids) is taken out too, for libvirt to make anew.
// ErrorCode::invalid_argument, naming `source`, for what is no domain.
Result<std::string> domain_xml(const std::string& template_text, const std::string& source, const Vm& vm);

}  // namespace roamstead::hypervisor
