// What an administrator asks for: a pool of desktops, in TOML (docs/provisioning.md lists the keys).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/firstboot/steps.h"
#include "common/registry/reg_text.h"
#include "common/settings/sent_settings.h"
#include "common/vdisk/disk.h"
#include "coordinator/compose/assign.h"
#include "coordinator/compose/ipv6.h"
#include "coordinator/compose/settings.h"
#include "coordinator/compose/user_disk.h"
#include "coordinator/hypervisor/vm_spec.h"

namespace roamstead::compose {

// "VDI-{n:04}": letters, digits and '-', with one place for the clone's number.
struct NamePattern {
  std::string before;
  std::uint32_t digits = 1;  // at least; filled with zeros
  std::string after;

  std::string name(std::uint64_t number) const;
};

// A static address for each clone, in the order of their numbers.
struct AddressRange {
  std::uint32_t first = 0;  // IPv4, host byte order
  std::uint32_t last = 0;
  std::uint32_t prefix_bits = 24;
  std::uint32_t gateway = 0;  // 0: none

  std::uint64_t size() const { return std::uint64_t{last} - first + 1; }
};

enum class CloneKind : std::uint8_t { linked, full };
enum class ServiceStart : std::uint8_t { boot = 0, system = 1, automatic = 2, manual = 3, disabled = 4 };

struct ServiceSetting {
  std::string service;
  ServiceStart start = ServiceStart::manual;
};

// A file that is the same on every clone. Its content was read when the specification was.
struct PlacedFile {
  std::string path;  // on the Windows volume: "ProgramData/Contoso/app.ini"
  Bytes content;
};

// Run once before anybody logs on, in this order.
struct FirstBootScript {
  std::string name;  // "10-printers.cmd": a file name that ends in .cmd, .bat, .ps1 or .exe
  Bytes content;
  std::uint32_t attempts = 3;
  std::uint32_t timeout_seconds = 600;
  // Else a built-in step, which has a name and no content.
  firstboot::StepKind kind = firstboot::StepKind::script;
  char letter = 'D';  // of assign-drive-letter
  std::string label = {};
};

// How a desktop becomes a member of an Active Directory domain (docs/domain-join.md).
enum class JoinMethod : std::uint8_t {
  direct,    // the finished membership is written
  unattend,  // Windows' Setup takes a blob: images that were generalised
  runonce,   // a script at the first start gives it to djoin
};

struct JoinSpec {
  std::string controller;       // "ldaps://dc1.corp.example.com"
  std::string container;        // distinguished name; "" the domain's own for computers
  std::string bind_name;        // "joiner@corp.example.com"; "" Kerberos
  std::string password_file;    // on the host, its first line; with bind_name
  std::string ca_file;          // "": the system's authorities
  bool reuse_accounts = false;  // that exist, with a new password; else they are refused
  JoinMethod method = JoinMethod::direct;
  // On the host: NAME.txt for each desktop, of `djoin /provision` or `net offlinejoin provision`. "":
  // accounts are made at `controller`.
  std::string blobs;
};

struct PoolSpec {
  std::string name;
  std::string image;  // as it was imported
  NamePattern clones;
  std::uint64_t first_number = 1;
  std::uint64_t count = 0;
  CloneKind kind = CloneKind::linked;
  std::string directory;  // where the disks go; absolute
  vdisk::Format format = vdisk::Format::vhdx;
  bool allow_duplicate_sid = false;
  std::string session_pool;  // of desktops (`desktop-pool`): whose policies hold; "" the default one

  std::optional<AddressRange> addresses;  // none: DHCP
  std::vector<std::string> dns_servers;
  std::string dns_suffix;
  std::string adapter;  // its name, where the image has several

  std::optional<JoinSpec> join;  // none: a workgroup, or as the image is

  std::string time_zone;  // a key of Windows' list; "" as in the image
  bool hibernation = false;
  bool machine_password_change = false;
  std::string kms_host;            // "host" or "host:port"
  std::string profiles_directory;  // "D:\\Users"; "" as in the image
  std::vector<ServiceSetting> services;
  std::vector<registry::RegChange> registry;  // of .reg files, in their order
  std::vector<PlacedFile> files;
  std::vector<FirstBootScript> scripts;

  std::optional<UserDiskSpec> user_disk;  // data_disk.h: where it lies
  std::string first_boot_program;         // roamstead-firstboot.exe on the host; "" where the package has it

  std::optional<AddressRange6> addresses6;  // none: what routers and DHCP say
  std::vector<std::string> dns_servers6;
  std::optional<LogonSpec> logon;
  ProfilesSpec profiles;
  std::vector<PolicyValue> policies;
  SanPolicy san_policy = SanPolicy::online;

  AssignSpec assign;  // users of desktops

  // What its desktops' agents are set to where their session pool says nothing.
  settings::SentSettings agent_settings;

  std::optional<hypervisor::VmSpec> vm;  // none: whoever starts the desktops defines their machines

  // Starts of Windows until a desktop is ready: Setup, and a join at the first start, need one more.
  std::uint32_t boots(bool generalised) const {
    return generalised || (join && join->method != JoinMethod::direct) ? 2 : 1;
  }

  std::string clone_name(std::uint64_t index) const { return clones.name(first_number + index); }
};

// Checks all of it, and tells all that is wrong, each with its line: unknown keys (with what was probably
// meant), values that cannot be, names that Windows or DNS would refuse, ranges that are too small. Files
// that it names are read, relative to `directory`, where the specification lies. `source` is for messages.
Result<PoolSpec> parse_pool_spec(os::FileSystem& files, const std::string& text, const std::string& source,
                                 const std::string& directory);

// Of a pool that is there: what its files held is in its template, and they may be gone.
Result<PoolSpec> parse_made_pool_spec(const std::string& text, const std::string& source);

// A computer's name: 2 to 15 letters, digits and '-', not at either end, and not digits alone.
Result<void> check_computer_name(const std::string& name);
std::string address_text(std::uint32_t ipv4);

}  // namespace roamstead::compose
