#include "coordinator/compose/units_network.h"

#include <algorithm>
#include <cctype>

#include "common/base/text.h"
#include "coordinator/compose/first_boot.h"
#include "coordinator/compose/unit_tools.h"

namespace roamstead::compose {
namespace {

constexpr std::uint32_t kAddressCapacity = 36;  // "255.255.255.255" and two NULs
constexpr std::uint32_t kAddressFileCapacity = 4096;
constexpr const char* kAddressFile = "ipv6.txt";

Result<std::string> adapter_id(const UnitContext& context) {
  const auto& adapters = context.image.adapters;
  const NetworkAdapter* chosen = nullptr;
  for (const auto& adapter : adapters) {
    const bool wanted = context.spec.adapter.empty() ? adapter.instance.rfind("PCI\\", 0) == 0
                                                     : same_name(adapter.name, context.spec.adapter);
    if (!wanted) continue;
    if (chosen != nullptr)
      return fail(ErrorCode::invalid_argument, "the image has the network adapters '" + chosen->name +
                                                   "' and '" + adapter.name +
                                                   "': say which in network.adapter");
    chosen = &adapter;
  }
  if (chosen == nullptr)
    return fail(ErrorCode::invalid_argument,
                context.spec.adapter.empty()
                    ? "the image has no network adapter that static addresses could be bound to"
                    : "the image has no network adapter '" + context.spec.adapter + "'");
  auto id = chosen->id;
  std::transform(id.begin(), id.end(), id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return id;
}

Result<std::string> adapter_key(const UnitContext& context) {
  RS_TRY(const auto id, adapter_id(context));
  return tcpip(context) + "\\Interfaces\\" + id;
}

}  // namespace

Result<void> common_dns(const UnitContext& context, Edits& edits) {
  if (context.spec.dns_suffix.empty()) return {};
  for (const char* value : {"Domain", "NV Domain"})
    edits.registry.push_back(set_string(HiveId::system, tcpip(context), value, context.spec.dns_suffix));
  return {};
}

Result<void> common_network(const UnitContext& context, Edits& edits) {
  const auto& spec = context.spec;
  if (!spec.addresses && spec.dns_servers.empty()) return {};
  RS_TRY(const auto key, adapter_key(context));
  if (!spec.dns_servers.empty()) {
    std::string servers;
    for (const auto& server : spec.dns_servers) servers += (servers.empty() ? "" : ",") + server;
    edits.registry.push_back(set_string(HiveId::system, key, "NameServer", servers));
  }
  if (!spec.addresses) return {};
  const auto mask = ~std::uint32_t{0} << (32 - spec.addresses->prefix_bits);
  edits.registry.push_back(set_number(HiveId::system, key, "EnableDHCP", 0));
  edits.registry.push_back(
      set_data(HiveId::system, key, "SubnetMask", kMultiString, registry_strings({address_text(mask)})));
  std::vector<std::string> gateways, metrics;
  if (spec.addresses->gateway != 0) {
    gateways.push_back(address_text(spec.addresses->gateway));
    metrics.emplace_back("0");
  }
  edits.registry.push_back(
      set_data(HiveId::system, key, "DefaultGateway", kMultiString, registry_strings(gateways)));
  edits.registry.push_back(
      set_data(HiveId::system, key, "DefaultGatewayMetric", kMultiString, registry_strings(metrics)));
  for (const char* value : {"DhcpIPAddress", "DhcpSubnetMask", "DhcpServer", "DhcpDefaultGateway",
                            "DhcpNameServer", "DhcpDomain", "DhcpSubnetMaskOpt", "DhcpInterfaceOptions",
                            "Lease", "LeaseObtainedTime", "LeaseTerminatesTime", "T1", "T2"})
    edits.registry.push_back(delete_value(HiveId::system, key, value));
  return {};
}

Result<void> own_network(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  if (!context.spec.addresses) return {};
  RS_TRY(const auto key, adapter_key(context));
  const auto address = context.spec.addresses->first + static_cast<std::uint32_t>(clone.index);
  add_own(edits,
          set_data(HiveId::system, key, "IPAddress", kMultiString, registry_strings({address_text(address)})),
          kAddressCapacity);
  return {};
}

Result<void> common_network6(const UnitContext& context, Edits& edits) {
  if (context.spec.dns_servers6.empty()) return {};
  RS_TRY(const auto id, adapter_id(context));
  std::string servers;
  for (const auto& server : context.spec.dns_servers6) servers += (servers.empty() ? "" : ",") + server;
  edits.registry.push_back(
      set_string(HiveId::system, in_control_set(context, "Services\\Tcpip6\\Parameters\\Interfaces\\" + id),
                 "NameServer", servers));
  return {};
}

Result<void> own_network6(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  const auto& range = context.spec.addresses6;
  if (!range) return {};
  RS_TRY(const auto id, adapter_id(context));
  auto text = "adapter=" + id + "\r\naddress=" + range->address(clone.index).text() +
              "\r\nprefix=" + std::to_string(range->prefix_bits) + "\r\n";
  if (range->gateway != Ipv6{}) text += "gateway=" + range->gateway.text() + "\r\n";
  const auto bytes = as_bytes(text);
  edits.files.push_back(
      {{kFirstBootFolder + std::string(kAddressFile), Bytes(bytes.begin(), bytes.end()), true, ""},
       kAddressFileCapacity});
  return {};
}

std::string network6_script() {
  return "# Gives the adapter that ipv6.txt names its IPv6 address, once.\r\n"
         "$ErrorActionPreference = 'Stop'\r\n"
         "$fields = @{}\r\n"
         "foreach ($line in Get-Content -LiteralPath (Join-Path (Split-Path -Parent $PSScriptRoot) '" +
         std::string(kAddressFile) +
         "')) {\r\n"
         "  $name, $value = $line -split '=', 2\r\n"
         "  if ($value) { $fields[$name] = $value }\r\n"
         "}\r\n"
         "$adapter = Get-NetAdapter -IncludeHidden | Where-Object { $_.InterfaceGuid -eq $fields['adapter'] "
         "}\r\n"
         "if (-not $adapter) { throw ('no network adapter ' + $fields['adapter']) }\r\n"
         "$at = @{ InterfaceIndex = $adapter.ifIndex; AddressFamily = 'IPv6' }\r\n"
         "Set-NetIPInterface @at -Dhcp Disabled\r\n"
         "$there = Get-NetIPAddress @at -PolicyStore PersistentStore -ErrorAction SilentlyContinue |\r\n"
         "  Where-Object { $_.IPAddress -eq $fields['address'] }\r\n"
         "if (-not $there) {\r\n"
         "  New-NetIPAddress @at -IPAddress $fields['address'] -PrefixLength $fields['prefix'] | Out-Null\r\n"
         "}\r\n"
         "if ($fields['gateway']) {\r\n"
         "  $route = Get-NetRoute @at -DestinationPrefix '::/0' -PolicyStore PersistentStore "
         "-ErrorAction SilentlyContinue |\r\n"
         "    Where-Object { $_.NextHop -eq $fields['gateway'] }\r\n"
         "  if (-not $route) {\r\n"
         "    New-NetRoute @at -DestinationPrefix '::/0' -NextHop $fields['gateway'] | Out-Null\r\n"
         "  }\r\n"
         "}\r\n"
         "exit 0\r\n";
}

}  // namespace roamstead::compose
