// Units of the network: addresses, DNS servers and names, bound to one of the image's adapters.
#pragma once

#include "coordinator/compose/units.h"

namespace roamstead::compose {

Result<void> common_dns(const UnitContext& context, Edits& edits);

// IPv4: values of the adapter's key below Tcpip\Parameters\Interfaces.
Result<void> common_network(const UnitContext& context, Edits& edits);
Result<void> own_network(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);

// IPv6: DNS servers are values too (Tcpip6). Addresses Windows keeps in a table of its network stack
// (Control\Nsi) whose layout nobody has published, so that a first-boot script sets them.
Result<void> common_network6(const UnitContext& context, Edits& edits);
Result<void> own_network6(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);
inline constexpr const char* kNetwork6ScriptName = "00-ipv6.ps1";
std::string network6_script();

}  // namespace roamstead::compose
