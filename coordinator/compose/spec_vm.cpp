#include "coordinator/compose/spec_vm.h"

#include <algorithm>

#include "coordinator/compose/pool_vms.h"

namespace roamstead::compose {
namespace {

using hypervisor::AdapterKind;
using hypervisor::VmSpec;

tl::unexpected<Error> wrong(std::string what) { return fail(ErrorCode::invalid_argument, std::move(what)); }

void read_commands(SpecTable& table, hypervisor::VmCommands& commands) {
  const auto read = [&](const char* key, hypervisor::VmCommands::Words& words) {
    table.texts(key, [&](const std::string& word) -> Result<void> {
      words.push_back(word);
      return {};
    });
    if (const auto good = hypervisor::check_command(words); !good)
      table.note_at(key, good.error().to_string());
  };
  read("define", commands.define);
  read("undefine", commands.undefine);
  read("power_on", commands.power_on);
  read("power_off", commands.power_off);
  read("power_state", commands.power_state);
  read("freeze", commands.freeze);
  read("merge", commands.merge);
}

void check_whole(const SpecTable& table, const PoolSpec& spec, const VmSpec& vm) {
  const auto& commands = vm.commands;
  const bool is_libvirt = vm.adapter == AdapterKind::libvirt;
  if (vm.adapter != AdapterKind::command && !vm.has_template)
    table.note_at("adapter", std::string("needs 'vm.template': ") +
                                 (is_libvirt ? "a domain, as 'virsh dumpxml --inactive' prints one"
                                             : "the .vmx of a machine to begin with"));
  if (is_libvirt && !(commands.power_on.empty() && commands.power_off.empty() && commands.freeze.empty() &&
                      commands.merge.empty() && commands.power_state.empty()))
    table.note_at("commands", "libvirt needs none but 'define' and 'undefine', which are run beside its own");
  if (!is_libvirt && vm.power_on && commands.power_on.empty())
    table.note_at("power_on", "needs the command 'vm.commands.power_on'");
  if (!commands.power_on.empty() && commands.power_off.empty())
    table.note_at("commands", "'vm.commands.power_off' is missing: a machine that runs could not be deleted");
  if (commands.define.empty() != commands.undefine.empty())
    table.note_at("commands", "'define' and 'undefine' go together: what is defined is undone");
  if (vm.adapter == AdapterKind::command && vm.formats.empty())
    table.note_at("adapter", "needs 'vm.formats': the disk formats that the hypervisor attaches");
  const auto adapter = hypervisor::make_adapter(os::real_file_system(), vm);
  for (const auto& disk : vm_disks(spec, spec.clone_name(0)))
    if (const auto good = adapter->check_disk(disk.format, disk.has_parent); !good)
      table.note_at("adapter", good.error().to_string() + (disk.format == vdisk::to_string(spec.format)
                                                               ? " (pool.format, pool.kind)"
                                                               : " (the user data disk)"));
}

}  // namespace

void read_vm(SpecTable& table, PoolSpec& spec,
             const std::function<Result<Bytes>(const std::string& path)>& read_file) {
  VmSpec vm;
  vm.directory = spec.directory;
  std::uint64_t snapshot_seconds = vm.snapshot_seconds;
  std::uint64_t parallel = vm.parallel, timeout = static_cast<std::uint64_t>(vm.timeout.count());
  table.require("adapter");
  table.text("adapter", [&](const std::string& value) -> Result<void> {
    if (value != "libvirt" && value != "vmware" && value != "command")
      return wrong("'" + value + "' is none of libvirt, vmware and command");
    vm.adapter = value == "libvirt"  ? AdapterKind::libvirt
                 : value == "vmware" ? AdapterKind::vmware
                                     : AdapterKind::command;
    return {};
  });
  table.text("template", [&](const std::string& value) -> Result<void> {
    RS_TRY(const auto content, read_file(value));
    vm.template_text = as_text(content);
    vm.template_source = value;
    vm.has_template = true;
    return {};
  });
  table.text("directory", [&](const std::string& value) -> Result<void> {
    if (value.empty() || value.front() != '/') return wrong("expected an absolute path on this host");
    vm.directory = value;
    return {};
  });
  const auto [base, bits] = hypervisor::mac_range(vm.adapter);
  vm.first_mac = hypervisor::first_mac(base, bits, spec.name, spec.count);
  const auto last = base + (std::uint64_t{1} << bits) - 1;
  table.text("first_mac", [&, base = base](const std::string& value) -> Result<void> {
    RS_TRY(vm.first_mac, hypervisor::parse_mac(value));
    const bool outside = vm.first_mac < base || vm.first_mac + spec.count - 1 > last;
    if (vm.adapter == AdapterKind::vmware && outside)
      return wrong("VMware takes addresses from 00:50:56:00:00:00 to 00:50:56:3f:ff:ff only");
    if ((vm.first_mac ^ (vm.first_mac + spec.count - 1)) >> 24 != 0)
      return wrong("'" + value + "' leaves too few addresses for all desktops in its maker's range");
    return {};
  });
  table.flag("power_on", vm.power_on);
  table.number("parallel", 1, 64, parallel);
  table.number("timeout_seconds", 1, 3600, timeout);
  vm.parallel = static_cast<std::uint32_t>(parallel);
  vm.timeout = std::chrono::seconds(timeout);
  table.number("snapshot_seconds", 0, 86'400, snapshot_seconds);
  vm.snapshot_seconds = static_cast<std::uint32_t>(snapshot_seconds);
  table.text("uri", [&](const std::string& value) -> Result<void> {
    if (vm.adapter != AdapterKind::libvirt) return wrong("is libvirt's");
    if (value.find(':') == std::string::npos || value.front() == '-')
      return wrong("expected a connection such as qemu:///system");
    vm.uri = value;
    return {};
  });
  table.texts("formats", [&](const std::string& value) -> Result<void> {
    const auto known = {"vhdx", "vhd", "qcow2", "raw", "vmdk"};
    if (vm.adapter != AdapterKind::command)
      return wrong("is for the adapter 'command': of the others it is known");
    if (std::find(known.begin(), known.end(), value) == known.end())
      return wrong("'" + value + "' is none of vhdx, vhd, qcow2, raw, vmdk");
    vm.formats.push_back(value);
    return {};
  });
  table.table("commands", [&](SpecTable& commands) { read_commands(commands, vm.commands); });
  check_whole(table, spec, vm);
  spec.vm = std::move(vm);
}

}  // namespace roamstead::compose
