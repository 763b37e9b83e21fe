#include "coordinator/compose/image.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/text.h"
#include "common/ntfs/volume_state.h"
#include "common/registry/check.h"
#include "common/registry/value_text.h"

namespace roamstead::compose {
namespace {

constexpr const char* kCurrentVersion = "Microsoft\\Windows NT\\CurrentVersion";
// The class of network adapters, by which Windows lists its connections.
constexpr const char* kNetwork = "\\Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}";
constexpr const char* kAgentKey = "Roamstead\\Agent";

std::string control_set_name(std::uint32_t number) { return fmt::format("ControlSet{:03}", number); }

Result<std::string> control_set_of(const ImageHives& hives) {
  const auto current = hives.number(HiveId::system, "Select", "Current");
  const auto starts = hives.number(HiveId::system, "Select", "Default");
  if (!current || *current == 0 || *current > 999)
    return fail(ErrorCode::corrupt, "SYSTEM: Select\\Current names no control set");
  if (starts && *starts != *current)
    return fail(
        ErrorCode::unsupported,
        fmt::format("SYSTEM has two control sets in use: {} ran last, {} is started next, as after a failed "
                    "start; start the golden image once and shut it down",
                    control_set_name(*current), control_set_name(*starts)));
  auto name = control_set_name(*current);
  if (!hives.hive(HiveId::system).find(name))
    return fail(ErrorCode::corrupt, "SYSTEM: Select\\Current names " + name + ", which is not there");
  return name;
}

std::vector<NetworkAdapter> adapters_of(const ImageHives& hives, const std::string& control_set) {
  std::vector<NetworkAdapter> adapters;
  const auto network = control_set + kNetwork;
  for (const auto& id : hives.subkeys(HiveId::system, network)) {
    const auto connection = network + "\\" + id + "\\Connection";
    NetworkAdapter adapter{id, hives.text(HiveId::system, connection, "Name"),
                           hives.text(HiveId::system, connection, "PnPInstanceId")};
    if (!adapter.name.empty()) adapters.push_back(std::move(adapter));
  }
  return adapters;
}

Result<void> check_setup_state(const ImageHives& hives, WindowsImage& image) {
  const auto state =
      hives.text(HiveId::software, "Microsoft\\Windows\\CurrentVersion\\Setup\\State", "ImageState");
  image.generalised = state == "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE";
  if (!state.empty() && state != "IMAGE_STATE_COMPLETE" && !image.generalised)
    return fail(ErrorCode::unsupported,
                "Windows is in the middle of its setup (" + state + "): finish it, or generalise the image");
  const bool busy = hives.number(HiveId::system, "Setup", "SystemSetupInProgress").value_or(0) != 0;
  if (busy && !image.generalised)
    return fail(ErrorCode::unsupported,
                "SYSTEM: Setup\\SystemSetupInProgress is set: Windows' setup has not ended");
  return {};
}

void add_warnings(WindowsImage& image, const ImageHives& hives) {
  if (image.build >= kFirstBuildWithSidCheck && !image.generalised)
    image.warnings.push_back(
        fmt::format("build {} refuses Kerberos and NTLM between machines of the same SID, and clones of an "
                    "image that was not "
                    "generalised share theirs: generalise it (sysprep /generalize)",
                    image.build));
  if (image.agent.empty())
    image.warnings.push_back(
        "the agent is not installed: profiles will not roam, and nothing reports a desktop ready");
  for (auto hive : kHives)
    if (hives.file(hive).was_dirty)
      image.warnings.push_back(
          hives.file(hive).path +
          " was recovered from its logs: end the preparation of an image with a full shutdown "
          "(shutdown /s /full)");
}

}  // namespace

Result<ImageHives> ImageHives::load(const ntfs::Volume& volume) {
  ImageHives hives;
  for (auto id : kHives) {
    RS_TRY(auto file, load_hive(volume, std::string(path_of(id))));
    // The bytes stay where they are when the vector that holds them is moved.
    RS_TRY(auto hive, registry::Hive::open(file.file, file.path));
    const auto report = registry::check(hive);
    if (!report.sound())
      return fail(ErrorCode::corrupt,
                  fmt::format("{}: {} defects, the first: {}; repair the golden image before it is cloned",
                              file.path, report.defect_count, report.defects.front().to_string()));
    hives.hives_.emplace(id, Loaded(std::move(file), std::move(hive)));
  }
  return hives;
}

std::optional<Bytes> ImageHives::data(HiveId hive, const std::string& key, const std::string& name) const {
  const auto& registry = this->hive(hive);
  const auto at = registry.find(key);
  const auto units = to_utf16(name);
  if (!at || !units) return std::nullopt;
  const auto value = registry.find_value(*at, *units);
  if (!value || !*value) return std::nullopt;
  Bytes scratch;
  const auto bytes = registry.data(**value, scratch);
  if (!bytes) return std::nullopt;
  return Bytes(bytes->begin(), bytes->end());
}

std::string ImageHives::text(HiveId hive, const std::string& key, const std::string& name) const {
  const auto bytes = data(hive, key, name);
  return bytes ? registry::string_text(*bytes) : "";
}

std::optional<std::uint32_t> ImageHives::number(HiveId hive, const std::string& key,
                                                const std::string& name) const {
  const auto bytes = data(hive, key, name);
  if (!bytes || bytes->size() != 4) return std::nullopt;
  return load_le<std::uint32_t>(*bytes);
}

std::vector<std::string> ImageHives::subkeys(HiveId hive, const std::string& key) const {
  const auto& registry = this->hive(hive);
  std::vector<std::string> names;
  const auto at = registry.find(key);
  std::vector<std::uint32_t> cells;
  if (!at || !registry.subkeys(*at, cells)) return names;
  for (auto cell : cells)
    if (const auto child = registry.key(cell)) names.push_back(child->name.to_wtf8());
  return names;
}

Result<WindowsImage> inspect_image(os::FileSystem& files, const std::string& path) {
  RS_TRY(const auto opened, WindowsDisk::open(files, path));
  RS_TRY(const auto state, ntfs::volume_state(opened->device()));
  if (!state.clean())
    return fail(ErrorCode::unsupported, opened->device().name() + ": " + state.remarks.front());
  WindowsImage image;
  image.disk = path;
  image.format = opened->disk().layers().front().format;
  image.virtual_bytes = opened->disk().size_bytes();
  image.place = opened->place();
  RS_TRY_CTX(const auto hives, path, ImageHives::load(opened->volume()));
  RS_TRY_CTX(image.control_set, path, control_set_of(hives));
  image.product = hives.text(HiveId::software, kCurrentVersion, "ProductName");
  image.version = hives.text(HiveId::software, kCurrentVersion, "DisplayVersion");
  if (image.version.empty()) image.version = hives.text(HiveId::software, kCurrentVersion, "ReleaseId");
  const auto build = hives.text(HiveId::software, kCurrentVersion, "CurrentBuildNumber");
  std::from_chars(build.data(), build.data() + build.size(), image.build);
  image.architecture =
      hives.text(HiveId::system, image.control_set + "\\Control\\Session Manager\\Environment",
                 "PROCESSOR_ARCHITECTURE");
  image.computer_name =
      hives.text(HiveId::system, image.control_set + "\\Control\\ComputerName\\ComputerName", "ComputerName");
  image.agent = hives.text(HiveId::software, kAgentKey, "Version");
  image.adapters = adapters_of(hives, image.control_set);
  for (const char* name : {"Windows/Panther/unattend.xml", "Windows/Panther/Unattend/unattend.xml"})
    image.has_answer_file = image.has_answer_file || opened->volume().lookup(name).has_value();
  image.has_setup_complete = opened->volume().lookup("Windows/Setup/Scripts/SetupComplete.cmd").has_value();
  RS_CHECK_CTX(path, check_setup_state(hives, image));
  add_warnings(image, hives);
  return image;
}

}  // namespace roamstead::compose
