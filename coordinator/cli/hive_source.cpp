#include "coordinator/cli/hive_source.h"

#include "common/base/text.h"
#include "common/ntfs/wof.h"
#include "common/os/file.h"
#include "coordinator/cli/volume_device.h"

namespace roamstead::cli {
namespace {

constexpr std::uint64_t kLimitBytes = std::uint64_t{registry::kMaxBinsBytes} + registry::kBaseBlockBytes;

struct NamedBytes {
  std::string name;
  Bytes bytes;
};

bool is_log_of(const std::string& name, const std::string& hive) {
  for (const char* suffix : {".LOG", ".LOG1", ".LOG2"})
    if (same_name(name, hive + suffix)) return true;
  return false;
}

// The hive first, then its logs.
Result<std::vector<NamedBytes>> read_from_files(const HiveArguments& arguments) {
  auto& files = os::real_file_system();
  std::vector<std::string> paths = arguments.logs;
  if (paths.empty()) {
    const auto directory = os::parent_directory(arguments.hive);
    RS_TRY(const auto names, files.list_directory(directory));
    for (const auto& name : names)
      if (is_log_of(name, os::base_name(arguments.hive))) paths.push_back(os::join_path(directory, name));
  }
  paths.insert(paths.begin(), arguments.hive);
  std::vector<NamedBytes> all;
  for (const auto& path : paths) {
    RS_TRY(auto bytes, os::read_file(files, path, kLimitBytes));
    all.push_back({path, std::move(bytes)});
  }
  return all;
}

Result<Bytes> read_from_volume(const ntfs::Volume& volume, ntfs::FileReference reference,
                               const std::string& name) {
  RS_TRY_CTX(const auto file, name, volume.record(reference.record));
  RS_TRY_CTX(const auto content, name, ntfs::FileContent::open(volume, file, ""));
  if (content.size_bytes() > kLimitBytes)
    return fail(ErrorCode::unsupported, name + ": too large to be a hive or its log");
  Bytes bytes(static_cast<std::size_t>(content.size_bytes()));
  RS_CHECK_CTX(name, content.read(0, bytes));
  return bytes;
}

Result<std::vector<NamedBytes>> read_from_disk(const HiveArguments& arguments, std::size_t colon) {
  const auto disk = arguments.hive.substr(0, colon);
  auto path = arguments.hive.substr(colon + 1);
  for (auto& c : path)
    if (c == '\\') c = '/';
  RS_TRY(const auto device, open_volume_device(disk, arguments.partition));
  RS_TRY(const auto opened, ntfs::Volume::open(device.device()));
  const auto& volume = *opened;
  RS_TRY(const auto reference, volume.lookup(path));
  std::vector<NamedBytes> all;
  RS_TRY(auto primary, read_from_volume(volume, reference, arguments.hive));
  all.push_back({arguments.hive, std::move(primary)});
  if (!arguments.logs.empty()) {
    for (const auto& log : arguments.logs) {
      RS_TRY(const auto at, volume.lookup(log));
      RS_TRY(auto bytes, read_from_volume(volume, at, disk + ":" + log));
      all.push_back({disk + ":" + log, std::move(bytes)});
    }
    return all;
  }
  const auto slash = path.find_last_of('/');
  const auto folder = slash == std::string::npos ? "" : path.substr(0, slash);
  RS_TRY(const auto directory, volume.lookup(folder));
  RS_TRY(const auto entries, volume.list(directory.record));
  const auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  for (const auto& entry : entries) {
    if (!is_log_of(entry.name, name)) continue;
    RS_TRY(auto bytes, read_from_volume(volume, entry.reference, entry.name));
    all.push_back({entry.name, std::move(bytes)});
  }
  return all;
}

}  // namespace

Result<LoadedHive> load_hive(const HiveArguments& arguments) {
  auto& files = os::real_file_system();
  LoadedHive loaded;
  loaded.name = arguments.hive;
  RS_TRY(const bool is_file, files.exists(arguments.hive));
  // A file called "a:b" is a file; else what is before the last ':' is the disk (and perhaps ":PARTITION").
  const auto colon = arguments.hive.rfind(':');
  loaded.in_disk = !is_file && colon != std::string::npos && colon + 1 < arguments.hive.size();
  RS_TRY(auto all, loaded.in_disk ? read_from_disk(arguments, colon) : read_from_files(arguments));
  loaded.primary = std::move(all.front().bytes);
  std::vector<registry::LogFile> logs;
  for (std::size_t i = 1; i < all.size(); ++i) {
    logs.push_back({all[i].name, all[i].bytes});
    loaded.log_names.push_back(all[i].name);
  }
  if (arguments.as_is) return loaded;
  auto recovered = registry::recover(loaded.primary, loaded.name, logs);
  if (!recovered)
    return fail(
        std::move(recovered).error().with("the hive cannot be used (--as-is shows it without its logs)"));
  loaded.recovery = std::move(*recovered);
  if (!loaded.recovery.file.empty()) loaded.primary = {};
  return loaded;
}

}  // namespace roamstead::cli
