// Commands, and the hypervisors that run here: QEMU itself, and libvirt's test driver.
#include <doctest/doctest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/base/sha256.h"
#include "common/vdisk/disk.h"
#include "coordinator/foreign/command.h"
#include "coordinator/hypervisor/adapter.h"
#include "coordinator/hypervisor/vm_command.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::hypervisor {
namespace {

using support::must;
using Words = VmCommands::Words;
using Clock = std::chrono::steady_clock;

os::FileSystem& files() { return os::real_file_system(); }

Vm machine(const std::string& name, const std::string& disk) {
  Vm vm;
  vm.name = name;
  vm.pool = "sales";
  vm.uuid = vm_uuid("sales", name);
  vm.mac = 0x525400000001;
  vm.disks = {{disk, "qcow2", true}};
  return vm;
}

std::string content_of(const std::string& path) {
  return std::string(as_text(must(os::read_file(files(), path, 1u << 26))));
}

TEST_CASE("a command gets its arguments as they are, and its output is in the error") {
  const auto vm = machine("SALES-001", "/srv/it's $HOME; a disk.qcow2");
  const auto substitutes = substitutes_of(vm, "/srv");
  CHECK(must(run_for(vm, {"/bin/echo", "-n", "{disk} {name}{number} {x} {"}, substitutes,
                     std::chrono::seconds(10))) == "/srv/it's $HOME; a disk.qcow2 SALES-0010 {x} {");
  const auto failed =
      run_for(vm, {"/bin/sh", "-c", "echo out; echo no such \"$1\" >&2; exit 3", "sh", "{name}"}, substitutes,
              std::chrono::seconds(10));
  REQUIRE(!failed);
  CHECK(failed.error().to_string() == "VM SALES-001: /bin/sh ended with status 3: no such SALES-001");
  CHECK(run_for(vm, {"/nonexistent/virsh"}, substitutes, std::chrono::seconds(10)).error().code ==
        ErrorCode::unavailable);
}

TEST_CASE("a command that takes too long is ended with what it started") {
  support::TemporaryDirectory folder;
  foreign::CommandOptions options;
  options.within = std::chrono::milliseconds(200);
  const auto begin = Clock::now();
  const auto late =
      foreign::run_command({"/bin/sh", "-c", "sleep 60 & echo $! > " + folder / "pid" + "; wait"}, options);
  REQUIRE(!late);
  CHECK(late.error().code == ErrorCode::timeout);
  CHECK(Clock::now() - begin < std::chrono::seconds(10));
  const auto child = std::stoi(content_of(folder / "pid"));
  // Gone, or dead and not yet reaped by init.
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    std::ifstream status("/proc/" + std::to_string(child) + "/stat");
    std::string id, program, state;
    gone = !(status >> id >> program >> state) || state == "Z";
    if (!gone) ::usleep(10'000);
  }
  CHECK(gone);
}

TEST_CASE("a command is over when it ends, whatever it leaves running") {
  foreign::CommandOptions options;
  options.within = std::chrono::seconds(30);
  const auto begin = Clock::now();
  const auto output = must(foreign::run_command({"/bin/sh", "-c", "echo begun; sleep 3 & exit 0"}, options));
  CHECK(output.out == "begun\n");
  CHECK(Clock::now() - begin < std::chrono::seconds(2));
  // And all of much output is there.
  CHECK(must(foreign::run_command({"/usr/bin/seq", "100000"}, options)).out.size() == 588'895);
}

TEST_CASE("a file that was closed is not locked any more while another thread starts programs") {
  support::TemporaryDirectory folder;
  std::atomic<bool> over{false};
  std::vector<std::thread> starters;
  for (int i = 0; i < 2; ++i)
    starters.emplace_back([&] {
      while (!over) must(foreign::run_command({"/bin/true"}, {}));
    });
  int busy = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto file = must(files().open(folder / "disk", os::OpenMode::create));
    if (!file->lock(true)) ++busy;
  }
  over = true;
  for (auto& starter : starters) starter.join();
  CHECK(busy == 0);
}

TEST_CASE("commands of a specification are checked before they are run") {
  CHECK(check_command({}));
  CHECK(check_command({"/usr/bin/virsh", "start", "{name}", "{\"json\": 1}", "${HOME}"}));
  CHECK(!check_command({"virsh", "start"}));
  CHECK(!check_command({"/usr/bin/{name}"}));
  const auto unknown = check_command({"/usr/bin/virsh", "{nmae}"});
  REQUIRE(!unknown);
  CHECK(unknown.error().to_string().find("'{nmae}' stands for nothing") != std::string::npos);
}

TEST_CASE("what hypervisors call on and off") {
  for (const char* word : {"on", "running\n", " Running ", "poweredOn", "paused", "suspended"})
    CHECK(parse_power(word) == Power::on);
  for (const char* word : {"off", "shut off", "Off", "halted", "poweredOff\r\n"})
    CHECK(parse_power(word) == Power::off);
  for (const char* word : {"", "maybe", "not running"}) CHECK(parse_power(word) == Power::unknown);
}

TEST_CASE("adapters attach what their hypervisors really do") {
  VmSpec spec;
  const auto takes = [&](const std::string& format, bool has_parent) {
    return make_adapter(files(), spec)->check_disk(format, has_parent).has_value();
  };
  spec.adapter = AdapterKind::libvirt;
  CHECK(takes("qcow2", true));
  CHECK(takes("vhd", false));
  for (const char* format : {"vhdx", "vhd", "vmdk"}) CHECK(!takes(format, true));
  CHECK(!takes("vhdx", false));
  spec.adapter = AdapterKind::vmware;
  CHECK(takes("vmdk", false));
  for (const char* format : {"vhdx", "vhd", "qcow2", "raw"}) CHECK(!takes(format, false));
  spec.adapter = AdapterKind::command;
  spec.formats = {"vhdx"};
  CHECK(takes("vhdx", true));
  CHECK(!takes("vhd", true));
  const auto refused = make_adapter(files(), spec)->check_disk("vhd", true);
  CHECK(refused.error().to_string().find("vm.formats says vhdx") != std::string::npos);
}

// A QEMU without a processor that runs, driven by commands as in a specification.
struct QemuSite {
  support::TemporaryDirectory folder;
  VmSpec spec;
  std::string socket = folder / "SALES-001.qmp";

  QemuSite() {
    const std::string qmp =
        std::string(std::getenv("ROAMSTEAD_SOURCE_DIR")) + "/coordinator/hypervisor/testing/qmp.py";
    spec.adapter = AdapterKind::command;
    spec.directory = folder.path();
    spec.formats = {"qcow2"};
    spec.timeout = std::chrono::seconds(60);
    spec.commands.power_on = {"/usr/bin/qemu-system-x86_64",
                              "-S",
                              "-daemonize",
                              "-nodefaults",
                              "-display",
                              "none",
                              "-machine",
                              "pc,accel=tcg",
                              "-m",
                              "16",
                              "-drive",
                              "file={disk},format={format},if=virtio,id=system",
                              "-netdev",
                              "user,id=net,restrict=on",
                              "-device",
                              "virtio-net,netdev=net,mac={mac},romfile=",
                              "-uuid",
                              "{uuid}",
                              "-qmp",
                              "unix:{directory}/{name}.qmp,server=on,wait=off",
                              "-pidfile",
                              "{directory}/{name}.pid"};
    spec.commands.power_state = {"/usr/bin/python3", qmp, "{directory}/{name}.qmp", "state"};
    spec.commands.power_off = {"/usr/bin/python3", qmp, "{directory}/{name}.qmp", "quit"};
    spec.commands.freeze = {"/usr/bin/python3", qmp, "{directory}/{name}.qmp", "freeze", "{top}"};
  }
  ~QemuSite() {
    std::ifstream file(folder / "SALES-001.pid");
    if (pid_t process = 0; file >> process && process > 1) ::kill(process, SIGKILL);
  }
  std::string ask(const Words& words) const {
    Words all{spec.commands.freeze[0], spec.commands.freeze[1], socket};
    all.insert(all.end(), words.begin(), words.end());
    return must(foreign::run_command(all)).out;
  }
};

TEST_CASE("a running QEMU accepts a clone's chain, and freezes its top layer by a command") {
  if (!support::available("qemu-system-x86_64")) return;
  QemuSite site;
  const auto base = site.folder / "sales.template.qcow2",
             reference = site.folder / "SALES-001.reference.qcow2", active = site.folder / "SALES-001.qcow2",
             top = site.folder / "SALES-001.1.qcow2";
  must(vdisk::create_disk(files(), base, 64u << 20));
  {
    const auto disk = must(vdisk::Disk::open(files(), base, vdisk::Access::write));
    must(disk->write(1u << 20, Bytes(4096, std::byte{5})));
    must(disk->flush());
  }
  must(vdisk::create_child(files(), base, reference));
  must(vdisk::create_child(files(), reference, active));
  auto vm = machine("SALES-001", active);
  const auto adapter = make_adapter(files(), site.spec);
  vm.definition = adapter->definition_path(vm.name);

  must(adapter->define(vm));
  CHECK(content_of(vm.definition).find("SALES-001 " + vm.uuid.to_string() + " 52:54:00:00:00:01") == 0);
  CHECK(must(adapter->power(vm)) == Power::off);
  must(adapter->power_on(vm));
  CHECK(must(adapter->power(vm)) == Power::on);
  must(adapter->power_on(vm));  // it is on: not started twice
  CHECK(site.ask({"chain"}) == active + "\n" + reference + "\n" + base + "\n");
  CHECK(site.ask({"io", "write -P 7 4096 4096"}).find("rror") == std::string::npos);

  CHECK(must(adapter->freeze(vm, top)).frozen == active);
  CHECK(site.ask({"chain"}) == top + "\n" + active + "\n" + reference + "\n" + base + "\n");
  const auto frozen = sha256(as_bytes(content_of(active)));
  CHECK(site.ask({"io", "write -P 9 8192 4096"}).find("rror") == std::string::npos);
  CHECK(site.ask({"io", "flush"}).find("rror") == std::string::npos);
  CHECK(sha256(as_bytes(content_of(active))) == frozen);
  const auto again = adapter->freeze(vm, top);
  REQUIRE(!again);
  CHECK(again.error().code == ErrorCode::exists);

  must(adapter->power_off(vm));
  CHECK(must(adapter->power(vm)) == Power::off);
  must(adapter->power_off(vm));
  // Our own reader sees what QEMU wrote, layer by layer.
  const auto byte_at = [&](const std::string& path, std::uint64_t offset) {
    const auto disk = must(vdisk::Disk::open(files(), path, vdisk::Access::read));
    Bytes bytes(1);
    must(disk->read(offset, bytes));
    return std::to_integer<int>(bytes[0]);
  };
  CHECK(byte_at(top, 4096) == 7);
  CHECK(byte_at(top, 8192) == 9);
  CHECK(byte_at(top, 1u << 20) == 5);
  CHECK(byte_at(active, 8192) == 0);
  must(adapter->undefine(vm));
  CHECK(!std::filesystem::exists(vm.definition));
  must(adapter->undefine(vm));
}

TEST_CASE("what a freeze prints is believed only as far as it can be seen") {
  support::TemporaryDirectory folder;
  VmSpec spec;
  spec.adapter = AdapterKind::command;
  spec.directory = folder.path();
  const auto vm = machine("SALES-001", folder / "SALES-001.qcow2");
  std::ofstream(vm.disks[0].path) << "disk";
  const auto adapter = make_adapter(files(), spec);
  CHECK(adapter->freeze(vm, folder / "top").error().code == ErrorCode::unsupported);
  spec.commands.freeze = {"/bin/true"};
  CHECK(adapter->freeze(vm, folder / "top").error().to_string().find("top is not there") !=
        std::string::npos);
  spec.commands.freeze = {"/bin/sh", "-c", "touch \"$0\"; echo \"$0\"", "{top}"};
  CHECK(adapter->freeze(vm, folder / "top").error().to_string().find("which is the new top") !=
        std::string::npos);
  spec.commands.freeze = {"/bin/sh", "-c", "touch \"$0\"; echo noise; echo \"$1\"; echo", "{top}", "{disk}"};
  CHECK(must(adapter->freeze(vm, folder / "top2")).frozen == vm.disks[0].path);

  // Where the disk's own path stays the top.
  const auto frozen = folder / "SALES-001.0001.qcow2";
  std::ofstream(frozen) << "disk";
  const auto print = [&](const std::string& object) {
    spec.commands.freeze = {"/bin/echo", object};
    return adapter->freeze(vm, folder / "never");
  };
  const auto said = must(print("{\"path\": \"" + frozen + "\", \"top\": \"" + vm.disks[0].path + "\"}"));
  CHECK(said.frozen == frozen);
  CHECK(said.top == vm.disks[0].path);
  CHECK(must(print("{\"frozen_path\": \"" + frozen + "\", \"active_path\": \"" + vm.disks[0].path + "\"}"))
            .top == vm.disks[0].path);
  for (const auto& wrong : {std::string("{"), std::string("{}"), "{\"path\": \"" + frozen + "\"}",
                            "{\"path\": 1, \"top\": [\"" + frozen + "\"]}",
                            "{\"path\": \"" + frozen + "\", \"top\": \"" + frozen + "\"}",
                            "{\"path\": \"/nowhere\", \"top\": \"" + frozen + "\"}"}) {
    INFO(wrong);
    CHECK_FALSE(print(wrong));
  }
}

TEST_CASE("layers are merged by a command that gets both, and the place of the upper one") {
  support::TemporaryDirectory folder;
  VmSpec spec;
  spec.adapter = AdapterKind::command;
  spec.directory = folder.path();
  const auto vm = machine("SALES-001", folder / "SALES-001.qcow2");
  const auto adapter = make_adapter(files(), spec);
  CHECK_FALSE(adapter->can_merge());
  CHECK(adapter->merge(vm, {"/u", "/l", 2}).error().code == ErrorCode::unsupported);
  spec.commands.merge = {"/bin/sh",       "-c",      "echo \"$1 $2 $3 $4\" >\"$0\"",
                         folder / "said", "{upper}", "{lower}",
                         "{index}",       "{disk}"};
  CHECK(adapter->can_merge());
  must(adapter->merge(vm, {"/u", "/l", 2}));
  CHECK(content_of(folder / "said") == "/u /l 2 " + vm.disks[0].path + "\n");
  spec.commands.merge = {"/bin/false"};
  CHECK_FALSE(adapter->merge(vm, {"/u", "/l", 2}));
}

TEST_CASE("libvirt defines what is made for it, and says how a machine is") {
  if (!support::available("virsh")) return;
  support::TemporaryDirectory folder;
  VmSpec spec;
  spec.adapter = AdapterKind::libvirt;
  spec.uri = "test:///default";  // knows one machine, "test", which runs; what is defined is gone with virsh
  spec.directory = folder / "definitions";
  spec.template_source = "desk.xml";
  spec.template_text =
      "<domain type='test'><name>x</name><memory>65536</memory><os><type>hvm</type></os>"
      "<devices><interface type='network'><source network='default'/></interface></devices></domain>";
  spec.has_template = true;
  const auto adapter = make_adapter(files(), spec);
  const auto vm = machine("SALES-001", folder / "SALES-001.qcow2");
  must(adapter->define(vm));
  const auto path = adapter->definition_path(vm.name);
  // In one process: what was defined starts, with our name, uuid and disk.
  const auto said = must(foreign::run_command(
      {"virsh", "-c", spec.uri,
       "define " + path +
           "; start SALES-001; domuuid SALES-001; domblklist SALES-001; domiflist SALES-001"}));
  CHECK_MESSAGE(said.status == 0, said.err);
  for (const auto& there : {vm.uuid.to_string(), "vda      " + vm.disks[0].path, mac_text(vm.mac)})
    CHECK_MESSAGE(said.out.find(there) != std::string::npos, there, "\n", said.out);
  CHECK(must(adapter->power(vm)) == Power::off);  // of this one libvirt knows nothing
  must(adapter->undefine(vm));
  CHECK(!std::filesystem::exists(path));
  auto known = machine("test", folder / "test.qcow2");
  CHECK(must(adapter->power(known)) == Power::on);
  must(adapter->power_on(known));
  must(adapter->power_off(known));
  spec.uri = "test:///nonexistent/file.xml";
  const auto unreachable = adapter->power(vm);
  REQUIRE(!unreachable);
  CHECK(unreachable.error().to_string().find("virsh ended with status 1") != std::string::npos);
  spec.uri = "test:///default";
  spec.template_text = "<domain type='nonsense'/>";
  const auto refused = adapter->define(vm);
  REQUIRE(!refused);
  CHECK(refused.error().to_string().find("nonsense") != std::string::npos);
  must(adapter->undefine(vm));
}

}  // namespace
}  // namespace roamstead::hypervisor
