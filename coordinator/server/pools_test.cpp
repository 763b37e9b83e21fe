// Pools as administrators see them, in a coordinator on a real repository.
#include <doctest/doctest.h>

#include <filesystem>
#include <thread>

#include "coordinator/server/testing/pool_site.h"
#include "tests/support/command.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

TEST_CASE("while a job changes a pool no other one takes away what it makes") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  const auto create = site.request("pool.create", "");
  int asked = 0;
  const auto made = site.coordinator->execute(create, [&](const admin::Progress&) {
    if (asked++ != 0) return;  // one desktop is made, others are being made
    std::thread([&] {
      for (const json& other :
           {create, json{{"command", "pool.delete"}, {"pool", "sales"}},
            site.of_clone("clone.delete", "SALES-01"), site.of_clone("clone.refresh", "sales-01")}) {
        const auto refused = site.refusal(other);
        CHECK(refused.code == ErrorCode::busy);
        CHECK(refused.to_string().find("'pool create' is running") != std::string::npos);
      }
    }).join();
  });
  REQUIRE(made);
  CHECK(asked == 3);
  CHECK((*made)["made"] == 3);
  for (const char* name : {"SALES-01.vhdx", "SALES-02.vhdx", "SALES-03.vhdx"})
    CHECK(std::filesystem::exists(site.disk(name)));

  asked = 0;
  const auto deleted =
      site.coordinator->execute({{"command", "pool.delete"}, {"pool", "sales"}}, [&](const admin::Progress&) {
        if (asked++ != 0) return;
        std::thread([&] {
          CHECK(site.refusal(create).to_string().find("'pool delete' is running") != std::string::npos);
        }).join();
      });
  REQUIRE(deleted);
  CHECK(site.must(create)["made"] == 3);  // nothing of the jobs is left
}

TEST_CASE("jobs on different clones of a pool run side by side, on one clone or the whole pool they do not") {
  compose::RunningJobs jobs;
  auto first = jobs.begin_clone("sales", "SALES-01", "clone refresh");
  REQUIRE(first);
  CHECK(jobs.begin_clone("sales", "SALES-02", "clone refresh"));
  CHECK(jobs.begin("other", "pool create"));
  const auto same = jobs.begin_clone("sales", "sales-01", "clone delete");
  REQUIRE(!same);
  CHECK(same.error().code == ErrorCode::busy);
  CHECK(same.error().to_string().find("'clone refresh' is running") != std::string::npos);
  CHECK(!jobs.begin("sales", "pool delete"));
  {
    const auto moved = std::move(*first);
    CHECK(!jobs.begin("sales", "pool delete"));
  }
  const auto whole = jobs.begin("sales", "pool delete");
  REQUIRE(whole);
  CHECK(!jobs.begin_clone("sales", "SALES-02", "clone refresh"));
}

// A hypervisor of a few lines: NAME.on is there while a machine runs.
std::string small_hypervisor(const PoolSite& site, const std::string& more = "") {
  std::ofstream(site.folder / "vm")
      << "#!/bin/sh\n"
         "# WHAT NAME DIRECTORY\n"
         "echo \"$1 $2\" >> \"$3/log\"\n"
         "case $1 in\n"
         "  define) [ ! -e \"$3/refuse-$2\" ] || { echo no room >&2; exit 7; } ;;\n"
         "  on) [ ! -e \"$3/broken-$2\" ] || { echo no memory >&2; exit 9; }; touch \"$3/$2.on\" ;;\n"
         "  off) rm -f \"$3/$2.on\" ;;\n"
         "  state) [ -e \"$3/$2.on\" ] && echo running || echo off ;;\n"
         "esac\n";
  std::filesystem::create_directories(site.folder / "vms");
  std::string commands;
  for (const auto& [key, word] : {std::pair("define", "define"),
                                  {"undefine", "undefine"},
                                  {"power_on", "on"},
                                  {"power_off", "off"},
                                  {"power_state", "state"}})
    commands += std::string(key) + " = [\"/bin/sh\", \"" + (site.folder / "vm") + "\", \"" + word +
                "\", \"{name}\", \"{directory}\"]\n";
  return "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\ndirectory = \"" + (site.folder / "vms") +
         "\"\n" + more + "[vm.commands]\n" + commands;
}

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int count_of(const std::string& text, const std::string& what) {
  int count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST_CASE("machines are defined with their desktops, undone with them, and started at the end") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  const auto section = small_hypervisor(site, "power_on = true\nparallel = 2\n");
  const auto vms = site.folder / "vms/";
  std::ofstream(vms + "refuse-SALES-02") << "";
  std::ofstream(vms + "broken-SALES-03") << "";
  const auto create = site.request("pool.create", section);
  const auto plan = site.must(site.request("pool.plan", section));
  CHECK(plan["definition"].get<std::string>().find("SALES-01 ") == 0);
  CHECK(!std::filesystem::exists(vms + "log"));

  const auto first = site.must(create);
  INFO(first.dump(2));
  CHECK(first["made"] == 2);
  CHECK(first["started"] == 1);
  REQUIRE(first["failed"].size() == 1);
  CHECK(first["failed"][0]["clone"] == "SALES-02");
  CHECK(first["failed"][0]["error"].get<std::string>().find("status 7: no room") != std::string::npos);
  REQUIRE(first["not_started"].size() == 1);
  CHECK(first["not_started"][0]["error"].get<std::string>().find("status 9: no memory") != std::string::npos);
  // Nothing of the one that failed; the one that does not start is made.
  CHECK(!std::filesystem::exists(site.disk("SALES-02.vhdx")));
  CHECK(!std::filesystem::exists(vms + "SALES-02.vm"));
  CHECK(!site.coordinator->store().is_enrolled("SALES-02").value());
  CHECK(std::filesystem::exists(site.disk("SALES-03.vhdx")));
  CHECK(std::filesystem::exists(vms + "SALES-01.on"));
  auto clones = site.must({{"command", "clone.list"}})["clones"];
  CHECK(clones[0]["boot"] == "started");
  CHECK(clones[2]["boot"] == "made");

  std::filesystem::remove(vms + "refuse-SALES-02");
  std::filesystem::remove(vms + "broken-SALES-03");
  const auto second = site.must(create);
  CHECK(second["made"] == 1);
  CHECK(second["present"] == 2);
  CHECK(second["started"] == 2);
  CHECK(second["failed"].empty());
  CHECK(second["not_started"].empty());
  const auto log = content_of(vms + "log");
  CHECK(count_of(log, "on SALES-01\n") == 1);
  CHECK(count_of(log, "undefine SALES-01\n") == 0);

  // A machine that runs is switched off before its disk goes.
  site.must(site.of_clone("clone.delete", "SALES-01"));
  const auto since = content_of(vms + "log").substr(log.size());
  CHECK(count_of(since, "off SALES-01\n") == 1);
  CHECK(since.find("undefine SALES-01\n") > since.find("off SALES-01\n"));
  CHECK(count_of(since, "undefine SALES-01\n") == 1);
  CHECK(!std::filesystem::exists(vms + "SALES-01.on"));
  site.must({{"command", "pool.delete"}, {"pool", "sales"}});
  for (const char* name : {"SALES-02", "SALES-03"}) {
    CHECK(!std::filesystem::exists(vms + name + ".on"));
    CHECK(!std::filesystem::exists(vms + name + std::string(".vm")));
  }
}

TEST_CASE(
    "machines that do not fit their disks, and addresses that are taken, are refused by the plan with the "
    "line") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  std::ofstream(site.folder / "desk.xml")
      << "<domain type='kvm'><memory>65536</memory><os><type>hvm</type></os></domain>";
  std::ofstream(site.folder / "desk.vmx") << "config.version = \"8\"\nvirtualHW.version = \"19\"\n";
  const auto refused = [&](const std::string& section) {
    return site.refusal(site.request("pool.plan", section)).to_string();
  };
  const auto libvirt = refused("[vm]\nadapter = \"libvirt\"\ntemplate = \"desk.xml\"\n");
  CHECK(libvirt.find("sales.toml:8: vm.adapter: libvirt cannot attach a linked clone in vhdx: qcow2") !=
        std::string::npos);
  CHECK(refused("[vm]\nadapter = \"vmware\"\ntemplate = \"desk.vmx\"\n")
            .find("vmware cannot attach a linked clone in vhdx") != std::string::npos);
  CHECK(refused("[vm]\nadapter = \"command\"\nformats = [\"vhd\"]\n")
            .find("vm.formats says vhd (pool.format, pool.kind)") != std::string::npos);
  CHECK(refused("[vm]\nadapter = \"command\"\n").find("needs 'vm.formats'") != std::string::npos);
  CHECK(refused("[vm]\nadapter = \"xen\"\n").find("none of libvirt, vmware and command") !=
        std::string::npos);
  const std::string command = "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\n";
  CHECK(refused(command + "power_on = true\n").find("sales.toml:10: vm.power_on: needs the command") !=
        std::string::npos);
  CHECK(refused(command + "[vm.commands]\ndefine = [\"virsh\"]\n").find("absolute path") !=
        std::string::npos);
  CHECK(refused(command + "[vm.commands]\ndefine = [\"/bin/x\", \"{nam}\"]\n")
            .find("'{nam}' stands for nothing") != std::string::npos);
  CHECK(refused(command + "first_mac = \"52:54:00:ff:ff:ff\"\n").find("leaves too few addresses") !=
        std::string::npos);
  CHECK(refused(command + "first_mac = \"53:54:00:ff:ff:ff\"\n").find("address of a group") !=
        std::string::npos);

  auto first = site.request("pool.create", command + "first_mac = \"52:54:00:00:00:01\"\n");
  site.must(first);
  auto second = site.request("pool.plan", command + "first_mac = \"52:54:00:00:00:03\"\n");
  auto text = second["specification"].get<std::string>();
  text.replace(text.find("\"sales\""), 7, "\"other\"");
  text.replace(text.find("SALES-"), 6, "OTHER-");
  second["specification"] = text;
  CHECK(site.refusal(second).to_string().find("pool 'sales' has some of them; set vm.first_mac") !=
        std::string::npos);
  text.replace(text.find("00:00:03"), 8, "00:00:04");
  second["specification"] = text;
  site.must(second);
}

}  // namespace
}  // namespace roamstead::server
