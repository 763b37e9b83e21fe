#include "common/extract/live_hive.h"

#include <algorithm>

#include "common/base/text.h"
#include "common/extract/entry_reader.h"
#include "common/profile/registry.h"
#include "common/registry/recovery.h"

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kRecordOverheadBytes = 64;

Result<std::optional<ntfs::FileRecord>> find_file(const ntfs::Volume& volume, const std::string& path) {
  auto reference = volume.lookup(path);
  if (!reference) {
    if (reference.error().code == ErrorCode::not_found) return std::optional<ntfs::FileRecord>();
    return fail(std::move(reference).error());
  }
  RS_TRY(auto file, volume.record(reference->record));
  if (file.reference != *reference)
    return fail(ErrorCode::corrupt, path + ": the directory names MFT record " +
                                        std::to_string(reference->record) + ", which is another file by now");
  if (file.directory) return std::optional<ntfs::FileRecord>();
  return std::optional(std::move(file));
}

Result<Bytes> read_whole(const ntfs::Volume& volume, const ntfs::FileRecord& file, const std::string& name) {
  if (file.reparse_tag) return fail(ErrorCode::unsupported, name + " is a link or stored elsewhere");
  if (const auto reason = blocked_reason(file)) return fail(ErrorCode::unsupported, name + ": " + *reason);
  for (const auto& stream : file.streams) {
    if (!stream.name.empty()) continue;
    if (stream.size_bytes > std::min(kMaxHiveBytes, volume.info().volume_bytes))
      return fail(ErrorCode::unsupported, name + ": " + std::to_string(stream.size_bytes) +
                                              " bytes, a hive may have " + std::to_string(kMaxHiveBytes));
    Bytes bytes(stream.size_bytes);
    RS_CHECK_CTX(name, volume.read(stream, 0, bytes));
    return bytes;
  }
  return Bytes();
}

}  // namespace

bool is_hive_path(std::string_view path) {
  // Both hives' names have at least ten characters, which no case mapping makes others of.
  const auto slash = path.rfind('/');
  const auto name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (name.size() < 10 || std::string_view("nNuU").find(name.front()) == std::string_view::npos) return false;
  return profile::classify_hive_file(path) != profile::HiveFile::none;
}

bool is_hive_name(std::string_view name) {
  const auto& paths = profile::hive_paths();
  return std::any_of(paths.begin(), paths.end(),
                     [&](const auto& path) { return same_name(path.name(), name); });
}

bool is_hive_file(const ntfs::FileRecord& file, std::string_view path) {
  return !file.directory && is_hive_path(path);
}

bool HiveFiles::same_files(const HiveFiles& other) const {
  if (hive.has_value() != other.hive.has_value() || logs.size() != other.logs.size()) return false;
  if (hive && hive->reference != other.hive->reference) return false;
  for (std::size_t i = 0; i < logs.size(); ++i)
    if (logs[i].name != other.logs[i].name || logs[i].file.reference != other.logs[i].file.reference)
      return false;
  return true;
}

bool HiveFiles::any_record(const std::function<bool(std::uint64_t)>& is) const {
  return (hive && is(hive->reference.record)) ||
         std::any_of(logs.begin(), logs.end(), [&](const Log& log) { return is(log.file.reference.record); });
}

Result<HiveFiles> find_hive_files(const ntfs::Volume& volume, const std::string& path) {
  HiveFiles files;
  RS_TRY(files.hive, find_file(volume, path));
  if (!files.hive) return files;
  for (const char* ending : {".LOG", ".LOG1", ".LOG2"}) {
    RS_TRY(auto log, find_file(volume, path + ending));
    if (log) files.logs.push_back({ending, std::move(*log)});
  }
  return files;
}

Result<std::shared_ptr<LoadedHive>> LoadedHive::open(Bytes bytes, const std::string& name) {
  std::shared_ptr<LoadedHive> loaded(new LoadedHive);
  loaded->bytes_ = std::move(bytes);
  RS_TRY(loaded->hive_, registry::Hive::open(loaded->bytes_, name));
  RS_CHECK(loaded->hive_->root());
  return loaded;
}

Result<std::shared_ptr<const LoadedHive>> LoadedHive::load(const ntfs::Volume& volume, const HiveFiles& files,
                                                           const std::string& name) {
  RS_TRY(auto primary, read_whole(volume, *files.hive, name));
  std::vector<Bytes> contents;
  std::vector<registry::LogFile> logs;
  contents.reserve(files.logs.size());  // the logs view them
  for (const auto& log : files.logs) {
    RS_TRY(auto bytes, read_whole(volume, log.file, name + log.name));
    contents.push_back(std::move(bytes));
    logs.push_back({name + log.name, contents.back()});
  }
  RS_TRY(auto recovered, registry::recover(primary, name, logs));
  if (!recovered.file.empty()) primary = std::move(recovered.file);
  contents.clear();
  RS_TRY(auto loaded, open(std::move(primary), name));
  RS_CHECK(check_record_bounds(loaded->hive()));
  return std::shared_ptr<const LoadedHive>(std::move(loaded));
}

Result<std::shared_ptr<const LoadedHive>> LoadedHive::load_base(const ntfs::Volume& volume,
                                                                const HiveFiles& files,
                                                                const std::string& name) {
  RS_TRY(auto bytes, read_whole(volume, *files.hive, name));
  RS_TRY(auto loaded, open(std::move(bytes), name));
  if (loaded->hive().base().dirty())
    return fail(ErrorCode::corrupt, name + ": was being written; what is loaded is not known");
  if (!loaded->hive().defects().empty())
    return fail(ErrorCode::corrupt, name + ": " + loaded->hive().defects().front().to_string());
  return std::shared_ptr<const LoadedHive>(std::move(loaded));
}

Result<void> check_record_bounds(const registry::Hive& hive) {
  struct Level {
    std::vector<std::uint32_t> cells;
    std::size_t next = 0;
    std::uint64_t path_bytes = 0;
  };
  registry::CellSet seen(hive.bins().size());
  std::uint64_t keys = 0, bytes = 0;
  std::vector<Level> levels;
  const auto add = [&](const registry::Key& key, std::uint64_t path_bytes) {
    std::uint64_t values = 0;
    if (key.value_count != 0)
      if (const auto list = hive.cell(key.values_cell))
        values = std::min<std::uint64_t>(key.value_count, list->size() / 4);
    const auto security = hive.security(key);
    ++keys;
    bytes += (1 + values) * (path_bytes + kRecordOverheadBytes) + key.class_bytes +
             (security ? security->size() : 0);
    Level level{{}, 0, path_bytes};
    // What is damaged is found again, and named, where it matters.
    if (levels.size() <= registry::kMaxDepth) (void)hive.subkeys(key, level.cells, &seen);
    levels.push_back(std::move(level));
  };
  RS_TRY(const auto root, hive.root());
  seen.add(root.cell);
  add(root, 0);
  while (!levels.empty()) {
    if (keys > kMaxHiveKeys || bytes > kMaxHiveRecordBytes)
      return fail(ErrorCode::unsupported,
                  hive.name() + ": more keys, or keys with longer paths, than a batch can hold");
    auto& level = levels.back();
    if (level.next == level.cells.size()) {
      levels.pop_back();
      continue;
    }
    const auto cell = level.cells[level.next++];
    const auto key = hive.key(cell);
    if (!key || !seen.add(cell)) continue;
    add(*key, level.path_bytes + 1 + (key->name.latin1() ? 1 : 3) * key->name.size());
  }
  return {};
}

}  // namespace roamstead::extract
