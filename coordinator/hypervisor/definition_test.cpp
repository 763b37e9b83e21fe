// Definitions of virtual machines made from templates, judged by libvirt's own schema and by reading them
// back.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>

#include "coordinator/hypervisor/adapter.h"
#include "coordinator/hypervisor/libvirt_xml.h"
#include "coordinator/hypervisor/vmx.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::hypervisor {
namespace {

using support::must;

// As `virsh dumpxml` prints a running machine, with all that two machines cannot share.
constexpr const char* kDomain = R"(<?xml version="1.0"?>
<!-- the desktops' machine -->
<domain type='kvm' id='7'>
  <name>golden</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
  <memory unit='GiB'>4</memory>
  <sysinfo type='smbios'><system><entry name='uuid'>11111111-2222-3333-4444-555555555555</entry></system></sysinfo>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/golden_VARS.fd</nvram>
    <smbios mode='sysinfo'/>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>
    <disk type='block' device='disk' snapshot='external'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/>
      <source dev='/dev/vg/golden'/>
      <backingStore/>
      <target dev='sdb' bus='sata'/>
      <serial>GOLDEN</serial>
      <boot order='1'/>
      <alias name='sata0-0-1'/>
      <address type='drive' controller='0' bus='0' target='0' unit='1'/>
    </disk>
    <disk type='file'>
      <driver name='qemu' type='qcow2'/>
      <source file='/images/second.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:11:11:11'/>
      <source network='default'/>
      <target dev='vnet7'/>
      <model type='virtio'/>
      <alias name='net0'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:22:22:22'/>
      <source network='other'/>
    </interface>
    <channel type='unix'>
      <source mode='bind' path='/var/lib/libvirt/qemu/channel/golden/org.qemu.guest_agent.0'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <graphics type='vnc' port='5907' autoport='no' listen='127.0.0.1'/>
  </devices>
</domain>
)";

Vm machine() {
  Vm vm;
  vm.name = "SALES-007";
  vm.pool = "sales";
  vm.number = 7;
  vm.uuid = vm_uuid("sales", "SALES-007");
  vm.mac = must(parse_mac("52:54:00:0A:00:07"));
  vm.disks = {{"/srv/a & b/SALES-007.qcow2", "qcow2", true}, {"/srv/SALES-007.data.vhd", "vhd", false}};
  return vm;
}

std::string refusal(const Result<std::string>& text) { return text ? "" : text.error().to_string(); }

int count_of(const std::string& text, const std::string& what) {
  int count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST_CASE("a libvirt domain has its own name, addresses and disks, and nothing of the template's machine") {
  const auto text = must(domain_xml(kDomain, "desk.xml", machine()));
  for (const char* there :
       {"<name>SALES-007</name>", "<source file=\"/srv/a &amp; b/SALES-007.qcow2\"", "type=\"vpc\"",
        "cache=\"none\"", "<mac address=\"52:54:00:0a:00:07\"", "<!-- the desktops' machine -->",
        "device=\"cdrom\"", "<target dev=\"sdb\" bus=\"sata\"", "<target dev=\"sdc\" bus=\"sata\"",
        "template=\"/usr/share/OVMF/OVMF_VARS_4M.fd\"", "autoport=\"yes\"", "<genid"})
    CHECK_MESSAGE(text.find(there) != std::string::npos, there, "\n", text);
  for (const char* gone : {"golden", "GOLDEN", "11111111", "43dc0cf8", "second.qcow2", "52:54:00:11",
                           "52:54:00:22", "vnet7", "5907", "alias", "id=\"7\"", "backingStore"})
    CHECK_MESSAGE(text.find(gone) == std::string::npos, gone, "\n", text);
  CHECK(count_of(text, machine().uuid.to_string()) ==
        2);  // the domain's and the SMBIOS one, which must agree
  CHECK(count_of(text, "<boot order") == 1);
  CHECK(count_of(text, "device=\"disk\"") == 2);
  // Made again from what was made: the same.
  CHECK(must(domain_xml(text, "again.xml", machine())) == text);

  support::TemporaryDirectory folder;
  std::ofstream(folder / "desk.xml") << text;
  if (support::available("virt-xml-validate"))
    CHECK(support::run("virt-xml-validate " + folder / "desk.xml" + " domain"));
}

TEST_CASE("a libvirt template without disks and adapters gets disks") {
  const auto text =
      must(domain_xml("<domain type='qemu'><memory>65536</memory><os><type>hvm</type></os></domain>",
                      "small.xml", machine()));
  CHECK(text.find("<target bus=\"virtio\" dev=\"vda\"") != std::string::npos);
  CHECK(text.find("<target bus=\"virtio\" dev=\"vdb\"") != std::string::npos);
  support::TemporaryDirectory folder;
  std::ofstream(folder / "desk.xml") << text;
  if (support::available("virt-xml-validate"))
    CHECK(support::run("virt-xml-validate " + folder / "desk.xml" + " domain"));
}

TEST_CASE("what is no domain is refused, with the line") {
  const auto vm = machine();
  CHECK(refusal(domain_xml("<domain>\n<name>\n</domain>", "x.xml", vm)).find("x.xml:3: is no XML") !=
        std::string::npos);
  CHECK(refusal(domain_xml("", "x.xml", vm)).find("is no XML") != std::string::npos);
  CHECK(refusal(domain_xml("<network/>", "x.xml", vm)).find("is no <domain>") != std::string::npos);
  CHECK(refusal(domain_xml("<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>", "x.xml", vm)).find("document type") !=
        std::string::npos);
  CHECK(refusal(domain_xml(std::string(2u << 20, ' '), "x.xml", vm)).find("1 MiB") != std::string::npos);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<domain>";
  CHECK(!refusal(domain_xml(deep, "x.xml", vm)).empty());
}

constexpr const char* kVmx = R"(#!/usr/bin/vmware
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
displayName = "golden |22old|22"
guestOS = "windows9-64"
nvram = "golden.nvram"
uuid.bios = "56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 01"
uuid.location = "56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 01"

# controllers
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
SCSI0:6.present = "TRUE"
SCSI0:6.FileName = "golden.vmdk"
scsi0:6.redo = ""
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.deviceType = "cdrom-image"
sata0:0.fileName = "tools.iso"
sata0:1.present = "TRUE"
sata0:1.fileName = "other.VMDK"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "e1000e"
ethernet0.addressType = "generated"
ethernet0.generatedAddress = "00:0C:29:00:00:01"
memsize = "4096"
)";

TEST_CASE("a .vmx has its own name, addresses and disks, and keeps the rest as it was") {
  auto vm = machine();
  vm.disks[0].path = "/srv/\"x|y\"/SALES-007.vmdk";
  const auto text = must(vmx_text(kVmx, "golden.vmx", vm));
  const auto vmx = must(Vmx::parse(text, "made.vmx"));
  CHECK(vmx.find("displayname") == "SALES-007");
  CHECK(vmx.find("nvram") == "SALES-007.nvram");
  CHECK(vmx.find("scsi0:6.fileName") == vm.disks[0].path);
  CHECK(vmx.find("scsi0:8.fileName") == vm.disks[1].path);  // 7 is the controller
  CHECK(vmx.find("scsi0.virtualDev") == "pvscsi");
  CHECK(vmx.find("sata0:0.fileName") == "tools.iso");
  CHECK(!vmx.find("sata0:1.present"));
  CHECK(!vmx.find("scsi0:6.redo"));
  CHECK(vmx.find("ethernet0.address") == "52:54:00:0a:00:07");
  CHECK(vmx.find("ethernet0.addressType") == "static");
  CHECK(!vmx.find("ethernet0.generatedAddress"));
  CHECK(!vmx.find("uuid.location"));
  auto hex = vm.uuid.to_string();
  hex.erase(std::remove(hex.begin(), hex.end(), '-'), hex.end());
  auto bios = *vmx.find("uuid.bios");
  CHECK(bios[23] == '-');
  bios.erase(std::remove_if(bios.begin(), bios.end(), [](char c) { return c == ' ' || c == '-'; }),
             bios.end());
  CHECK(bios == hex);
  CHECK(text.find("#!/usr/bin/vmware\n") == 0);
  CHECK(text.find("\n# controllers\n") != std::string::npos);
  CHECK(text.find("memsize = \"4096\"\n") != std::string::npos);
  CHECK(must(vmx_text(text, "again.vmx", vm)) == text);
}

TEST_CASE("a .vmx that VMware would refuse is refused with its line") {
  const auto vm = machine();
  const std::string good = "config.version = \"8\"\nvirtualHW.version = \"19\"\n";
  CHECK(refusal(vmx_text(good, "x.vmx", vm)).empty());
  const auto wrong = [&](const std::string& line) { return refusal(vmx_text(good + line, "x.vmx", vm)); };
  CHECK(wrong("memsize").find("x.vmx:3: expected key") != std::string::npos);
  CHECK(wrong("memsize = 4").find("x.vmx:3: 'memsize': expected a value in quotes") != std::string::npos);
  CHECK(wrong("memsize = \"").find("in quotes") != std::string::npos);
  CHECK(wrong("a = \"b\"c\"").find("a quote") != std::string::npos);
  CHECK(wrong("a = \"|2\"").find("a quote or '|'") != std::string::npos);
  CHECK(wrong("Config.Version = \"8\"").find("is there twice") != std::string::npos);
  CHECK(wrong(std::string("a = \"\0\"", 7)).find("not text") != std::string::npos);
  CHECK(wrong("a b = \"1\"").find("cannot be a key") != std::string::npos);
  CHECK(wrong("nvme0:x.fileName = \"a.vmdk\"").find("no place of a disk") != std::string::npos);
  CHECK(wrong("scsi0:99999999999999999999.fileName = \"a.vmdk\"").find("no place") != std::string::npos);
  CHECK(wrong(".encoding = \"windows-1252\"").find("UTF-8") != std::string::npos);
  CHECK(refusal(vmx_text("memsize = \"4\"\n", "x.vmx", vm)).find("is no .vmx") != std::string::npos);
}

TEST_CASE("whatever a .vmx template holds, what is made of it is read back and has our disks only") {
  auto random = support::seeded_random();
  const std::vector<std::string> places{"scsi0:0", "scsi0:1", "SCSI1:15", "sata0:3",
                                        "ide0:0",  "nvme0:0", "ide1:1"};
  for (int round = 0; round < 300; ++round) {
    std::string text = "config.version = \"8\"\nvirtualHW.version = \"19\"\n";
    std::set<std::string> cdroms;
    for (const auto& place : places) {
      if (random() % 2 == 0) continue;
      const bool cdrom = random() % 3 == 0;
      if (cdrom) cdroms.insert(place);
      std::vector<std::string> lines{place + ".present = \"TRUE\"", place + ".fileName = \"x.vmdk\"",
                                     place + ".deviceType = \"" + (cdrom ? "cdrom-raw" : "disk") + "\""};
      std::shuffle(lines.begin(), lines.end(), random);
      if (!cdrom && random() % 2 == 0)
        lines.erase(std::find_if(lines.begin(), lines.end(), [](const auto& line) {
          return line.find("deviceType") != std::string::npos;
        }));
      for (const auto& line : lines) text += line + (random() % 2 == 0 ? "\r\n" : "\n");
    }
    const auto vm = machine();
    const auto made = vmx_text(text, "random.vmx", vm);
    if (!made) {  // both places of an IDE controller are taken
      CHECK(made.error().to_string().find("no place is left on ide") != std::string::npos);
      continue;
    }
    const auto vmx = must(Vmx::parse(*made, "made.vmx"));
    std::vector<std::string> disks;
    for (const auto& key : vmx.keys())
      if (key.size() > 9 && key.substr(key.size() - 9) == ".filename" &&
          vmx.find(key.substr(0, key.size() - 9) + ".devicetype").value_or("") != "cdrom-raw")
        disks.push_back(*vmx.find(key));
    CHECK(disks == std::vector<std::string>{vm.disks[0].path, vm.disks[1].path});
    for (const auto& cdrom : cdroms) CHECK(vmx.find(cdrom + ".fileName") == "x.vmdk");
  }
}

TEST_CASE("addresses of pools of one size are the same or apart, and within what the hypervisor takes") {
  std::set<std::uint64_t> begins;
  for (int i = 0; i < 500; ++i) {
    const auto [base, bits] = mac_range(AdapterKind::vmware);
    const auto first = first_mac(base, bits, "pool" + std::to_string(i), 1000);
    CHECK(first >= 0x005056000000);
    CHECK(first + 999 <= 0x0050563fffff);
    CHECK((first - base) % 1024 == 0);
    begins.insert(first);
  }
  CHECK(begins.size() > 400);
  CHECK(first_mac(0x525400000000, 24, "sales", 8) == first_mac(0x525400000000, 24, "sales", 8));
  CHECK(mac_text(must(parse_mac("52-54-00-AB-cd-01"))) == "52:54:00:ab:cd:01");
  for (const char* text : {"", "52:54:00:0a:00", "52:54:00:0a:00:0g", "52:54:00:0a:00:011",
                           "01:00:5e:00:00:01", "00:00:00:00:00:00"})
    CHECK(!parse_mac(text));
  CHECK(vm_uuid("a", "b").to_string() == vm_uuid("a", "b").to_string());
  CHECK(vm_uuid("a", "b").to_string() != vm_uuid("a", "c").to_string());
  CHECK(vm_uuid("a", "b").to_string()[14] == '8');
}

}  // namespace
}  // namespace roamstead::hypervisor
