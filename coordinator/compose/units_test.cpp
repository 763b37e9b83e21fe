// Each unit's edits as a table: what it sets, where, for all desktops or for each.
#include <doctest/doctest.h>

#include <fstream>

#include "common/registry/value_text.h"
#include "coordinator/compose/testing/pool_site.h"
#include "coordinator/compose/units_network.h"
#include "coordinator/join/lsa.h"
#include "tests/support/command.h"
#include "tests/support/command_output.h"

namespace roamstead::compose {
namespace {

using support::must;
using testing::file_of_disk;
using testing::PoolSite;
using Table = std::vector<std::string>;

std::string row_of(const RegistryEdit& edit) {
  constexpr std::size_t kAll = 4096;
  auto row = std::string(to_string(edit.hive)) + " " + edit.key + " | " + edit.name + " ";
  if (edit.action == RegistryEdit::Action::delete_value) return row + "deleted";
  if (edit.secret) return row + "(secret)";
  return row + registry::type_name(edit.type) + " " + registry::value_text(edit.type, edit.data, kAll);
}

// Of one unit, the rows for each desktop (here the first one) after those for all.
Table rows_of(const PoolPlan& plan, const std::string& unit) {
  Table rows;
  for (const auto& edit : plan.common.registry)
    if (edit.unit == unit) rows.push_back(row_of(edit));
  for (const auto& value : plan.own.values)
    if (value.edit.unit == unit) rows.push_back("each " + row_of(value.edit));
  return rows;
}

class Site : public PoolSite {
 public:
  using PoolSite::PoolSite;
  Table rows(const std::string& unit, const std::string& settings) {
    return rows_of(must(plan(spec_text(settings))), unit);
  }
  std::string refusal(const std::string& settings) {
    const auto parsed = parse(spec_text(settings));
    return parsed ? "" : parsed.error().to_string();
  }
};

// As the golden image's adapter has it, in lower case.
const std::string kAdapter = "{0f4a8c11-7d5c-4f5e-9a0b-1c2d3e4f5a6b}";
const std::string kSet = "SYSTEM ControlSet001\\";

}  // namespace

TEST_CASE("units: names, network, ids and the rest, each as a table") {
  if (!support::available("mkntfs")) return;
  testing::GoldenOptions options;
  options.edits = {set_string(HiveId::system, "ControlSet001\\Control\\IDConfigDB\\Hardware Profiles\\0001",
                              "HwProfileGuid", "{00000000-0000-0000-0000-000000000001}")};
  Site site(options);

  CHECK(site.rows("computer-name", "") ==
        Table{"each " + kSet + "Control\\ComputerName\\ComputerName | ComputerName REG_SZ VDI-0001",
              "each " + kSet + "Services\\Tcpip\\Parameters | Hostname REG_SZ VDI-0001",
              "each " + kSet + "Services\\Tcpip\\Parameters | NV Hostname REG_SZ VDI-0001"});
  CHECK(site.rows("dns-suffix", "[network]\ndns_suffix = \"corp.example\"\n") ==
        Table{kSet + "Services\\Tcpip\\Parameters | Domain REG_SZ corp.example",
              kSet + "Services\\Tcpip\\Parameters | NV Domain REG_SZ corp.example"});
  CHECK(site.rows("network-v6", "[network]\ndns = [\"10.1.0.2\", \"2001:DB8::0053\", \"fd00::1\"]\n") ==
        Table{kSet + "Services\\Tcpip6\\Parameters\\Interfaces\\" + kAdapter +
              " | NameServer REG_SZ 2001:db8::53,fd00::1"});
  CHECK(
      site.rows("network", "[network]\ndns = [\"10.1.0.2\", \"2001:db8::53\"]\n") ==
      Table{kSet + "Services\\Tcpip\\Parameters\\Interfaces\\" + kAdapter + " | NameServer REG_SZ 10.1.0.2"});
  CHECK(site.rows("new-disks", "") ==
        Table{kSet + "Services\\partmgr\\Parameters | SanPolicy REG_DWORD 0x00000001 (1)"});
  CHECK(site.rows("new-disks", "[system]\nsan_policy = \"offline-internal\"\n") ==
        Table{kSet + "Services\\partmgr\\Parameters | SanPolicy REG_DWORD 0x00000004 (4)"});
  CHECK(site.rows("no-hibernation", "") ==
        Table{kSet + "Control\\Power | HibernateEnabled REG_DWORD 0x00000000 (0)",
              kSet + "Control\\Session Manager\\Power | HiberbootEnabled REG_DWORD 0x00000000 (0)"});
  CHECK(site.rows("machine-password", "") ==
        Table{kSet + "Services\\Netlogon\\Parameters | DisablePasswordChange REG_DWORD 0x00000001 (1)"});
  CHECK(site.rows("machine-password", "[system]\nmachine_password_change = true\n").empty());
  const std::string update = "SOFTWARE Microsoft\\Windows\\CurrentVersion\\WindowsUpdate | ";
  CHECK(site.rows("machine-ids", "") ==
        Table{update + "SusClientId deleted", update + "SusClientIdValidation deleted",
              update + "PingID deleted", update + "AccountDomainSid deleted",
              "SOFTWARE Microsoft\\SQMClient | MachineId deleted",
              "SOFTWARE Microsoft\\Windows Advanced Threat Protection | senseGuid deleted",
              kSet + "Services\\Tcpip6\\Parameters | Dhcpv6DUID deleted"});
  const auto plan = must(site.plan(site.spec_text("")));
  const auto guid = rows_of(plan, "machine-guid").at(0), hardware = rows_of(plan, "hardware-id").at(0);
  CHECK(guid.rfind("each SOFTWARE Microsoft\\Cryptography | MachineGuid REG_SZ ", 0) == 0);
  CHECK(hardware.rfind(
            "each " + kSet + "Control\\IDConfigDB\\Hardware Profiles\\0001 | HwProfileGuid REG_SZ {", 0) ==
        0);
  const std::string kms = "SOFTWARE Microsoft\\Windows NT\\CurrentVersion\\SoftwareProtectionPlatform | ";
  CHECK(site.rows("kms", "[system]\nkms_host = \"kms.corp.example:1689\"\n") ==
        Table{kms + "KeyManagementServiceName REG_SZ kms.corp.example",
              kms + "KeyManagementServicePort REG_SZ 1689"});
  CHECK(site.rows("services", "[services]\nSpooler = \"disabled\"\n") ==
        Table{kSet + "Services\\Spooler | Start REG_DWORD 0x00000004 (4)"});
}

TEST_CASE("units: profiles, folders and policies, each as a table") {
  if (!support::available("mkntfs")) return;
  Site site;
  const std::string list = "SOFTWARE Microsoft\\Windows NT\\CurrentVersion\\ProfileList | ";
  CHECK(site.rows("profiles",
                  "[profiles]\ndirectory = \"D:\\\\Users\"\ndefault = \"%SystemDrive%\\\\Start\"\n"
                  "public = \"D:\\\\Public\"\n") == Table{list + "ProfilesDirectory REG_EXPAND_SZ D:\\Users",
                                                          list + "Default REG_EXPAND_SZ %SystemDrive%\\Start",
                                                          list + "Public REG_EXPAND_SZ D:\\Public"});
  const std::string folders =
      "DEFAULT-USER Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\User Shell Folders | ";
  CHECK(site.rows("shell-folders",
                  "[profiles.folders]\ndesktop = \"\\\\\\\\files\\\\home\\\\%USERNAME%\\\\Desktop\"\n"
                  "Documents = \"D:\\\\Docs\"\nDownloads = \"%USERPROFILE%\\\\In\"\n") ==
        Table{folders + "Personal REG_EXPAND_SZ D:\\Docs",
              folders + "{374DE290-123F-4565-9164-39C4925E467B} REG_EXPAND_SZ %USERPROFILE%\\In",
              folders + "Desktop REG_EXPAND_SZ \\\\files\\home\\%USERNAME%\\Desktop"});
  CHECK(site.rows("policy",
                  "[policy.machine.\"Microsoft\\\\Windows\\\\System\"]\nEnableSmartScreen = 0\n"
                  "Level = \"Block\"\nHosts = [\"a\", \"b\"]\n"
                  "[policy.user.\"Contoso\"]\nQuiet = true\n") ==
        Table{"SOFTWARE Policies\\Microsoft\\Windows\\System | EnableSmartScreen REG_DWORD 0x00000000 (0)",
              "SOFTWARE Policies\\Microsoft\\Windows\\System | Hosts REG_MULTI_SZ a | b",
              "SOFTWARE Policies\\Microsoft\\Windows\\System | Level REG_SZ Block",
              "DEFAULT-USER Software\\Policies\\Contoso | Quiet REG_DWORD 0x00000001 (1)"});
  CHECK(site.rows(
            "registry",
            "[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\Contoso'\nname = \"Server\"\nvalue = \"srv1\"\n"
            "[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\Contoso'\nvalue = 'the default'\n"
            "[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\X'\nname = "
            "'N'\nvalue = 7\n"
            "[[values]]\nkey = 'HKEY_USERS\\.DEFAULT-USER\\Software\\X'\nname = 'P'\nvalue = '%TEMP%'\n"
            "type = 'expand'\n"
            "[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\X'\nname = 'B'\nvalue = 'de ad,BEEF'\ntype = "
            "'binary'\n"
            "[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\X'\nname = 'Old'\ndelete = true\n") ==
        Table{"SOFTWARE Contoso | Server REG_SZ srv1", "SOFTWARE Contoso |  REG_SZ the default",
              "SYSTEM ControlSet001\\Control\\X | N REG_DWORD 0x00000007 (7)",
              "DEFAULT-USER Software\\X | P REG_EXPAND_SZ %TEMP%", "SOFTWARE X | B REG_BINARY deadbeef",
              "SOFTWARE X | Old deleted"});
  CHECK(site.refusal("[[values]]\nkey = 'HKLM\\X'\nvalue = 1\n").find("is in none of") != std::string::npos);
  CHECK(site.refusal("[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\X'\nvalue = 1\ntype = 'expand'\n")
            .find("is not the type of such a value") != std::string::npos);
  CHECK(site.refusal("[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\X'\nvalue = 'abc'\ntype = 'binary'\n")
            .find("half a byte") != std::string::npos);
  CHECK(site.refusal("[[values]]\nkey = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\X'\n").find("value") !=
        std::string::npos);
  CHECK(site.refusal("[profiles.folders]\nDesktops = \"D:\\\\x\"\n").find("none of the folders Desktop, ") !=
        std::string::npos);
  CHECK(site.refusal("[profiles]\npublic = \"here\"\n").find("is not a full path") != std::string::npos);
  CHECK(site.refusal("[policy.machine.\"A\"]\nx = 1.5\n").find("policy.machine.A.x: expected a number") !=
        std::string::npos);
  CHECK(site.refusal("[policy.machine.\"A\"]\nx = 4294967296\n").find("0 to 4294967295") !=
        std::string::npos);
  CHECK(site.refusal("[policy.machine.\"HKEY_LOCAL_MACHINE\\\\A\"]\nx = 1\n").find("is not a key below") !=
        std::string::npos);
  CHECK(site.refusal("[system]\nsan_policy = \"on\"\n").find("is none of online") != std::string::npos);
}

TEST_CASE("units: somebody is logged on by a sealed password, which no plan shows") {
  if (!support::available("mkntfs")) return;
  Site site;
  const std::string password = "Kiösk, 2026!";
  std::ofstream(site.folder() / "kiosk.password") << password << "\nnot this\n";
  const std::string settings = "[logon]\nuser = \"kiosk\"\npassword_file = \"kiosk.password\"\ncount = 5\n";
  const std::string winlogon = "SOFTWARE Microsoft\\Windows NT\\CurrentVersion\\Winlogon | ";
  const std::string secret = "SECURITY Policy\\Secrets\\DefaultPassword";
  auto rows = site.rows("autologon", settings);
  for (auto& row : rows)  // what differs from time to time
    for (const char* word : {"SecDesc |  REG_NONE ", "CupdTime |  REG_NONE ", "OupdTime |  REG_NONE "})
      if (const auto at = row.find(word); at != std::string::npos) row.resize(at + std::string(word).size());
  CHECK(rows ==
        Table{winlogon + "AutoAdminLogon REG_SZ 1", winlogon + "DefaultUserName REG_SZ kiosk",
              winlogon + "DefaultPassword deleted", winlogon + "AutoLogonCount REG_DWORD 0x00000005 (5)",
              secret + " |  REG_DWORD ", secret + "\\SecDesc |  REG_NONE ", secret + "\\CurrVal |  (secret)",
              secret + "\\CupdTime |  REG_NONE ", secret + "\\OldVal |  (secret)",
              secret + "\\OupdTime |  REG_NONE ", "each " + winlogon + "DefaultDomainName REG_SZ VDI-0001"});
  const auto in_domain = site.rows("autologon", settings + "domain = \"CORP\"\n");
  CHECK(std::find(in_domain.begin(), in_domain.end(), winlogon + "DefaultDomainName REG_SZ CORP") !=
        in_domain.end());
  CHECK(site.refusal("[logon]\nuser = \"CORP\\\\kiosk\"\npassword_file = \"kiosk.password\"\n")
            .find("has a domain in it") != std::string::npos);
  CHECK(site.refusal("[logon]\nuser = \"kiosk\"\n").find("'logon.password_file' is missing") !=
        std::string::npos);

  // On the disk it is nowhere in the clear, and others open it.
  must(site.create(site.spec_text(settings)));
  for (auto hive : {HiveId::security, HiveId::software, HiveId::system}) {
    const auto bytes = file_of_disk(site.disk("VDI-0002"), std::string(path_of(hive)));
    const auto wide = must(join::secret_utf16(password));
    CHECK(bytes.find(password) == std::string::npos);
    CHECK(bytes.find(as_text(wide)) == std::string::npos);
    std::ofstream(site.folder() / std::string(to_string(hive)), std::ios::binary) << bytes;
  }
  if (!support::available("impacket-secretsdump")) return;
  const auto dump =
      support::output_of("cd " + site.folder().path() +
                         " && PATH=/usr/bin:$PATH PYTHONUTF8=1 impacket-secretsdump -system SYSTEM "
                         "-security SECURITY LOCAL 2>&1");
  CHECK_MESSAGE(dump.find("(Unknown User):" + password) != std::string::npos, dump);
}

TEST_CASE("IPv6: each desktop has an address of its own, and a script that sets it") {
  if (!support::available("mkntfs")) return;
  Site site;
  const std::string settings =
      "[network]\naddresses6 = \"2001:db8:0:7::fffe-2001:db8:0:7::1:ffff/64\"\ngateway6 = \"fe80::1\"\n";
  must(site.create(site.spec_text(settings)));
  const std::string folder = "ProgramData/Roamstead/firstboot/";
  const auto file = file_of_disk(site.disk("VDI-0003"), folder + "ipv6.txt");
  CHECK(file.substr(0, file.find_last_not_of('\n') + 1) ==
        "adapter=" + kAdapter + "\r\naddress=2001:db8:0:7::1:0\r\nprefix=64\r\ngateway=fe80::1\r");
  CHECK(file_of_disk(site.disk("VDI-0001"), folder + "ipv6.txt").find("address=2001:db8:0:7::fffe\r") !=
        std::string::npos);
  CHECK(file_of_disk(site.disk("VDI-0003"), folder + "scripts/00-ipv6.ps1") == network6_script());
  CHECK(file_of_disk(site.disk("VDI-0003"), folder + "steps.json").find("00-ipv6.ps1") != std::string::npos);
}

TEST_CASE("IPv6: ranges are checked") {
  const auto refusal = [](const std::string& text) {
    const auto range = parse_range6(text);
    return range ? "" : range.error().to_string();
  };
  CHECK(refusal("2001:db8::1-2001:db8::ffff/64").empty());
  CHECK(must(parse_range6("2001:db8::1-2001:db8::ffff/64")).last_index() == 0xfffe);
  CHECK(must(parse_range6("2001:db8::-2001:db8::1/127")).last_index() == 1);
  CHECK(refusal("2001:db8::1/64").find("is not a range") != std::string::npos);
  CHECK(refusal("2001:db8::1-10.0.0.1/64").find("no IPv6 address") != std::string::npos);
  CHECK(refusal("2001:db8::9-2001:db8::1/64").find("ends before it begins") != std::string::npos);
  CHECK(refusal("2001:db8::1-2001:db8:1::1/64").find("not within one network") != std::string::npos);
  CHECK(refusal("2001:db8::1-2001:db8:0:1::1/48").find("last 64 bits") != std::string::npos);
  CHECK(refusal("2001:db8::1-2001:db8::2/128").find("1 to 127 bits") != std::string::npos);
  CHECK(refusal("2001:db8::-2001:db8::2/64").find("all routers") != std::string::npos);
  for (const char* text : {"ff02::1-ff02::9/64", "fe80::1-fe80::9/64", "febf::1-febf::9/64", "::1-::9/64"})
    CHECK_MESSAGE(refusal(text).find("multicast, link-local or loopback") != std::string::npos, text);
  const auto range = must(parse_range6("2001:db8::10-2001:db8::ff/64"));
  CHECK(must(parse_gateway6("2001:db8::1", range)).text() == "2001:db8::1");
  CHECK(parse_gateway6("2001:db8::20", range).error().to_string().find("two machines") != std::string::npos);
  CHECK(parse_gateway6("2001:db8:1::1", range).error().to_string().find("another network") !=
        std::string::npos);
  CHECK(Ipv6{0x20010db800000000, 1}.masked(33).text() == "2001:db8::");
  CHECK(Ipv6{~std::uint64_t{0}, ~std::uint64_t{0}}.masked(65).text() == "ffff:ffff:ffff:ffff:8000::");
  Site site;
  CHECK(site.refusal("[network]\naddresses6 = \"2001:db8::1-2001:db8::2/64\"\n")
            .find("2 addresses for 3 desktops") != std::string::npos);
  CHECK(site.refusal("[network]\ngateway6 = \"fe80::1\"\n").find("goes with 'addresses6'") !=
        std::string::npos);
}

}  // namespace roamstead::compose
