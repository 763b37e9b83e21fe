// A golden image: what is known of the Windows on it, and whether desktops can be made of it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/registry/hive.h"
#include "coordinator/compose/edit.h"
#include "coordinator/compose/windows_volume.h"

namespace roamstead::compose {

struct NetworkAdapter {
  std::string id;        // "{4d36e972-...}": the name of its key below Tcpip\Parameters\Interfaces
  std::string name;      // "Ethernet0"
  std::string instance;  // "PCI\\VEN_15AD&DEV_07B0..."; "" where Windows does not say
};

struct WindowsImage {
  std::string disk;  // the path
  vdisk::Format format = vdisk::Format::raw;
  std::uint64_t virtual_bytes = 0;
  WindowsPlace place;
  std::string product;       // "Windows 10 Enterprise"
  std::string version;       // "22H2"; "" before Windows 10
  std::uint32_t build = 0;   // 19045
  std::string architecture;  // "AMD64", "x86", "ARM64"
  std::string control_set;   // "ControlSet001"
  std::string computer_name;
  bool generalised = false;  // by sysprep
  std::string agent;         // the installed agent's version; "" when there is none
  std::vector<NetworkAdapter> adapters;
  std::vector<std::string> warnings;  // what a desktop made of this will suffer from
  bool has_answer_file = false;       // for Windows' Setup
  bool has_setup_complete = false;    // SetupComplete.cmd
};

// The hives of an image as Windows would see them, in memory.
class ImageHives {
 public:
  // Refuses damaged ones: an edit could make that worse.
  static Result<ImageHives> load(const ntfs::Volume& volume);

  const VolumeHive& file(HiveId hive) const { return hives_.at(hive).file; }
  const registry::Hive& hive(HiveId hive) const { return hives_.at(hive).hive; }
  // Below the hive's root; nothing where key or value is missing or unreadable.
  std::string text(HiveId hive, const std::string& key, const std::string& name) const;
  std::optional<std::uint32_t> number(HiveId hive, const std::string& key, const std::string& name) const;
  std::optional<Bytes> data(HiveId hive, const std::string& key, const std::string& name) const;
  std::vector<std::string> subkeys(HiveId hive, const std::string& key) const;

 private:
  struct Loaded {
    Loaded(VolumeHive read, registry::Hive opened) : file(std::move(read)), hive(std::move(opened)) {}
    VolumeHive file;
    registry::Hive hive;  // views what `file` holds
  };
  std::map<HiveId, Loaded> hives_;
};

// Builds from this on refuse to talk to a machine of the same SID.
inline constexpr std::uint32_t kFirstBuildWithSidCheck = 26100;

// Looks at disk, volume and hives, and refuses what no desktop can be made of: no Windows, a volume that is
// dirty, hibernated or encrypted, hives that are damaged, a Windows in the middle of its setup.
Result<WindowsImage> inspect_image(os::FileSystem& files, const std::string& path);

}  // namespace roamstead::compose
