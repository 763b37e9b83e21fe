#include "coordinator/compose/testing/golden_image.h"

#include "common/ntfs3g/format.h"
#include "common/ntfs3g/library_volume.h"
#include "common/volume/partition.h"
#include "coordinator/compose/template_layer.h"
#include "coordinator/join/testing_hives.h"
#include "tests/support/must.h"

namespace roamstead::compose::testing {
namespace {

using support::must;
constexpr const char* kAdapter = "{0f4a8c11-7d5c-4f5e-9a0b-1c2d3e4f5a6b}";

std::vector<RegistryEdit> system_edits() {
  const std::string set = "ControlSet001\\";
  const std::string network = set + "Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}\\" + kAdapter;
  const std::string interface = set + "Services\\Tcpip\\Parameters\\Interfaces\\" + kAdapter;
  return {
      set_number(HiveId::system, "Select", "Current", 1),
      set_number(HiveId::system, "Select", "Default", 1),
      set_number(HiveId::system, "Select", "LastKnownGood", 1),
      set_number(HiveId::system, "Setup", "SystemSetupInProgress", 0),
      set_string(HiveId::system, set + "Control\\ComputerName\\ComputerName", "ComputerName", "GOLDEN"),
      set_string(HiveId::system, set + "Control\\Session Manager\\Environment", "PROCESSOR_ARCHITECTURE",
                 "AMD64"),
      set_number(HiveId::system, set + "Control\\Session Manager\\Power", "HiberbootEnabled", 1),
      set_string(HiveId::system, set + "Services\\Tcpip\\Parameters", "Hostname", "golden"),
      set_string(HiveId::system, set + "Services\\Tcpip\\Parameters", "NV Hostname", "golden"),
      set_string(HiveId::system, network + "\\Connection", "Name", "Ethernet0"),
      set_string(HiveId::system, network + "\\Connection", "PnPInstanceId",
                 "PCI\\VEN_15AD&DEV_07B0\\FF565000"),
      set_number(HiveId::system, interface, "EnableDHCP", 1),
      set_string(HiveId::system, interface, "DhcpIPAddress", "192.0.2.44"),
      set_number(HiveId::system, set + "Services\\Netlogon", "Start", 3),
      set_number(HiveId::system, set + "Services\\Spooler", "Start", 2),
  };
}

std::vector<RegistryEdit> software_edits(bool has_agent) {
  const std::string version = "Microsoft\\Windows NT\\CurrentVersion";
  const std::string zone = version + "\\Time Zones\\W. Europe Standard Time";
  Bytes rules(44);
  store_le<std::uint32_t>(rules, 0, static_cast<std::uint32_t>(-60));
  store_le<std::uint32_t>(rules, 8, static_cast<std::uint32_t>(-60));
  store_le<std::uint16_t>(rules, 14, std::uint16_t{10});
  store_le<std::uint16_t>(rules, 30, std::uint16_t{3});
  constexpr std::uint32_t kBinary = 3;
  std::vector<RegistryEdit> edits{
      set_string(HiveId::software, version, "ProductName", "Windows 10 Enterprise"),
      set_string(HiveId::software, version, "DisplayVersion", "22H2"),
      set_string(HiveId::software, version, "CurrentBuildNumber", "19045"),
      set_string(HiveId::software, "Microsoft\\Windows\\CurrentVersion\\Setup\\State", "ImageState",
                 "IMAGE_STATE_COMPLETE"),
      set_string(HiveId::software, "Microsoft\\Cryptography", "MachineGuid",
                 "00000000-1111-2222-3333-444444444444"),
      set_string(HiveId::software, "Microsoft\\Windows\\CurrentVersion\\WindowsUpdate", "SusClientId",
                 "golden"),
      set_string(HiveId::software, version + "\\ProfileList", "ProfilesDirectory", "%SystemDrive%\\Users"),
      set_data(HiveId::software, zone, "TZI", kBinary, rules),
      set_string(HiveId::software, zone, "MUI_Std", "@tzres.dll,-322"),
      set_string(HiveId::software, zone, "MUI_Dlt", "@tzres.dll,-321"),
  };
  if (has_agent) edits.push_back(set_string(HiveId::software, "Roamstead\\Agent", "Version", "0.1.0"));
  return edits;
}

// Those that a domain is joined by have what joining looks at.
registry::Editor empty_hive(HiveId hive) {
  switch (hive) {
    case HiveId::system:
      return join::testing::system_hive();
    case HiveId::security:
      return join::testing::security_hive(join::testing::aes_keys());
    case HiveId::sam:
      return join::testing::sam_hive();
    case HiveId::software:
    case HiveId::default_user:
      break;
  }
  return must(registry::Editor::create(5, "ROOT", registry::test::descriptor(), registry::test::kTime));
}

void fill(registry::Editor& editor, std::uint64_t bytes) {
  constexpr std::size_t kPerKey = 16, kValueBytes = 200;
  const auto root = must(editor.hive().root()).cell;
  for (std::uint64_t made = 0, key = 0; made < bytes; ++key) {
    const auto cell = must(editor.create_path(
        root, "Classes\\CLSID\\{" + std::to_string(key % 97) + "}\\" + std::to_string(key / 97)));
    for (std::size_t i = 0; i < kPerKey; ++i, made += kValueBytes + 40)
      must(editor.set_value(cell, u"value" + std::u16string(1, static_cast<char16_t>(u'a' + i)), 3,
                            Bytes(kValueBytes, static_cast<std::byte>(key + i))));
  }
}

}  // namespace

Bytes make_hive(HiveId hive, const GoldenOptions& options) {
  if (const auto found = options.hives.find(hive); found != options.hives.end()) return found->second;
  auto editor = empty_hive(hive);
  if (hive == HiveId::system) {
    must(apply_edits(editor, hive, system_edits()));
    fill(editor, options.system_filler_bytes);
  }
  if (hive == HiveId::software) {
    must(apply_edits(editor, hive, software_edits(options.has_agent)));
    fill(editor, options.software_filler_bytes);
  }
  must(apply_edits(editor, hive, options.edits));
  editor.finish();
  return std::move(editor).take();
}

RegistryEdit generalised_state() {
  return set_string(HiveId::software, "Microsoft\\Windows\\CurrentVersion\\Setup\\State", "ImageState",
                    "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");
}

void read_hives(const std::string& directory, GoldenOptions& options) {
  constexpr std::uint64_t kMostBytes = 1u << 30;
  auto& files = os::real_file_system();
  for (auto hive : kHives) {
    const std::string path(path_of(hive));
    const auto file = os::join_path(directory, os::base_name(path));
    if (!must(files.exists(file))) continue;
    options.hives[hive] = must(os::read_file(files, file, kMostBytes));
    for (const char* log : {".LOG1", ".LOG2"})
      if (must(files.exists(file + log)))
        options.logs[path + log] = must(os::read_file(files, file + log, kMostBytes));
  }
}

void make_golden_image(const std::string& path, const GoldenOptions& options) {
  auto& files = os::real_file_system();
  vdisk::CreateOptions create;
  const auto ending = path.substr(path.rfind('.') + 1);
  create.format = must(vdisk::parse_format(ending));
  must(vdisk::create_disk(files, path, options.disk_bytes, create));
  const auto disk = must(vdisk::Disk::open(files, path, vdisk::Access::write));
  const auto partition = must(volume::create_single_partition(*disk, "Windows"));
  vdisk::SubDevice device(*disk, partition.offset_bytes, partition.size_bytes, path);
  must(ntfs3g::format_ntfs(device, "Windows", partition.offset_bytes));
  const auto volume = must(ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
  const auto place = [&](const std::string& at, ByteView content) {
    const auto directory = must(volume->make_directories(os::parent_directory(at)));
    const auto file = must(volume->create(directory, os::base_name(at), ntfs3g::ItemKind::file));
    must(volume->write(file, "", 0, content));
  };
  for (auto hive : kHives) {
    place(std::string(path_of(hive)), make_hive(hive, options));
    for (const char* log : {".LOG1", ".LOG2"}) {
      const auto at = std::string(path_of(hive)) + log;
      const auto given = options.logs.find(at);
      const auto nobody_needs = std::string(5000, 'L');
      place(at, given != options.logs.end() ? ByteView(given->second) : as_bytes(nobody_needs));
    }
  }
  place("Windows/System32/drivers/etc/hosts", as_bytes("127.0.0.1 localhost\r\n"));
  must(volume->make_directories("ProgramData"));
  for (const auto& [at, content] : options.files) place(at, as_bytes(content));
  must(volume->unmount());
  must(disk->flush());
}

}  // namespace roamstead::compose::testing
