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
  RS_TRY(loaded->keys_sound_, survey_keys(loaded->hive()));
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

namespace {

class Survey {
 public:
  explicit Survey(const registry::Hive& hive) : hive_(hive), seen_(hive.bins().size()) {}

  Result<bool> run() {
    RS_TRY(const auto root, hive_.root());
    seen_.add(root.cell);
    enter(root, 0);
    while (!levels_.empty()) {
      if (keys_ > kMaxHiveKeys || bytes_ > kMaxHiveRecordBytes)
        return fail(ErrorCode::unsupported,
                    hive_.name() + ": more keys, or longer paths of keys, than a batch can hold");
      auto& level = levels_.back();
      if (level.next == level.keys.size()) {
        levels_.pop_back();
        continue;
      }
      const auto key = level.keys[level.next++];
      enter(key, level.path_bytes + 1 + (key.name.latin1() ? 1 : 3) * key.name.size());
    }
    return sound_;
  }

 private:
  struct Level {
    std::vector<registry::Key> keys;
    std::size_t next = 0;
    std::uint64_t path_bytes = 0;
  };

  void enter(const registry::Key& key, std::uint64_t path_bytes) {
    std::uint64_t values = 0;
    if (key.value_count != 0)
      if (const auto list = hive_.cell(key.values_cell))
        values = std::min<std::uint64_t>(key.value_count, list->size() / 4);
    const auto security = hive_.security(key);
    ++keys_;
    bytes_ += (1 + values) * (path_bytes + kRecordOverheadBytes) + key.class_bytes +
              (security ? security->size() : 0);
    if (levels_.size() <= registry::kMaxDepth) levels_.push_back({subkeys(key), 0, path_bytes});
  }

  std::vector<registry::Key> subkeys(const registry::Key& parent) {
    std::vector<std::uint32_t> cells;
    if (!hive_.subkeys(parent, cells, &seen_)) sound_ = false;
    std::vector<registry::Key> keys;
    bool ascending = true;
    for (const auto cell : cells) {
      const auto key = hive_.key(cell);
      if (!key || !seen_.add(cell)) {
        sound_ = false;
        continue;
      }
      ascending = ascending && (keys.empty() || registry::compare_upcased(keys.back().name, key->name) < 0);
      keys.push_back(*key);
    }
    if (!ascending) check_names(keys);
    return keys;
  }

  void check_names(const std::vector<registry::Key>& keys) {
    std::vector<registry::NameView> names;
    for (const auto& key : keys) names.push_back(key.name);
    std::sort(names.begin(), names.end(),
              [](const auto& a, const auto& b) { return registry::compare_upcased(a, b) < 0; });
    for (std::size_t i = 1; i < names.size(); ++i)
      if (registry::compare_upcased(names[i - 1], names[i]) == 0) sound_ = false;
  }

  const registry::Hive& hive_;
  registry::CellSet seen_;
  std::vector<Level> levels_;
  std::uint64_t keys_ = 0, bytes_ = 0;
  bool sound_ = true;
};

}  // namespace

Result<bool> survey_keys(const registry::Hive& hive) { return Survey(hive).run(); }

}  // namespace roamstead::extract
