#include "agent/core/hive_file_port.h"

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/registry/editor.h"
#include "common/registry/recovery.h"

namespace roamstead::agent {
namespace {

constexpr std::uint32_t kMinorVersion = 5;  // as Windows makes new user hives
constexpr std::uint64_t kMaxHiveBytes = std::uint64_t{registry::kMaxBinsBytes} + registry::kBaseBlockBytes;

// What tells that a file is still the same, with the same content.
struct FileState {
  std::uint64_t record = 0;
  std::uint64_t size_bytes = 0;
  ItemTimes times;

  bool operator==(const FileState& other) const {
    return record == other.record && size_bytes == other.size_bytes &&
           times.created_100ns == other.times.created_100ns &&
           times.written_100ns == other.times.written_100ns;
  }
};

Result<FileState> state_of(VolumeHandle& handle) {
  FileState state;
  state.record = handle.record();
  RS_TRY(state.size_bytes, handle.size());
  RS_TRY(state.times, handle.times());
  return state;
}

Result<Bytes> read_all(VolumeHandle& handle, std::uint64_t size_bytes, const std::string& path) {
  if (size_bytes > kMaxHiveBytes)
    return fail(ErrorCode::corrupt, path + ": " + std::to_string(size_bytes) + " bytes are no registry hive");
  Bytes bytes(static_cast<std::size_t>(size_bytes));
  RS_TRY(const auto count, handle.read(0, bytes));
  if (count != bytes.size()) return fail(ErrorCode::conflict, path + " was cut while it was read");
  return bytes;
}

std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

// The logs beside a hive, in whatever case their names are.
Result<Bytes> recovered(ProfileVolume& volume, const std::string& path, Bytes file) {
  if (const auto base = registry::parse_base_block(file); base && !base->dirty()) return file;
  const auto [directory, name] = split(path);
  RS_TRY(const auto items, volume.list(directory));
  std::vector<std::pair<std::string, Bytes>> contents;
  for (const auto& item : items)
    for (const char* suffix : {".LOG", ".LOG1", ".LOG2"}) {
      if (!same_name(item.name, name + suffix)) continue;
      RS_TRY(const auto handle, volume.open(directory + "/" + item.name, ""));
      RS_TRY(auto bytes, read_all(*handle, item.size_bytes, item.name));
      contents.emplace_back(item.name, std::move(bytes));
    }
  std::vector<registry::LogFile> logs;
  for (const auto& [log_name, bytes] : contents) logs.push_back({log_name, bytes});
  RS_TRY(auto recovery, registry::recover(file, path, logs));
  if (!recovery.file.empty()) return std::move(recovery.file);
  return file;
}

Bytes descriptor_or_empty(const profile::KeyEntry& entry) {
  if (!entry.security.empty()) return entry.security;
  Bytes bytes(20);  // self-relative, revision 1, nothing in it
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, 0x8000);
  return bytes;
}

class HiveFile final : public MountedHive {
 public:
  HiveFile(ProfileVolume& volume, std::string path, profile::Entry file, registry::Editor editor,
           std::optional<FileState> state, std::string staging_path)
      : volume_(volume),
        path_(std::move(path)),
        file_(std::move(file)),
        editor_(std::move(editor)),
        state_(state),
        staging_path_(std::move(staging_path)) {}

  registry::Editor& editor() { return editor_; }

  Result<Key> root() override {
    RS_TRY(const auto key, editor_.hive().root());
    return Key{key.cell};
  }

  Result<std::optional<Key>> open(Key parent, const std::string& name) override {
    RS_TRY(const auto units, to_utf16(name));
    RS_TRY(const auto key, at(parent));
    RS_TRY(const auto found, editor_.hive().find_subkey(key, units));
    if (!found) return std::optional<Key>();
    return std::optional<Key>(found->cell);
  }

  Result<Key> create(Key parent, const std::string& name, const profile::KeyEntry& entry) override {
    RS_TRY(const auto units, to_utf16(name));
    RS_TRY(const auto above, at(parent));
    const auto written_100ns = above.written_100ns;
    RS_TRY(const auto made, editor_.create_key(above.cell, units));
    RS_CHECK(editor_.set_written(cell_of(parent), written_100ns));
    RS_CHECK(set_class_and_security(made, entry));
    RS_CHECK(editor_.set_written(made, entry.written_100ns));
    return Key{made};
  }

  Result<void> set_entry(Key key, const profile::KeyEntry& entry) override {
    return keeping_time(key, [&] { return set_class_and_security(cell_of(key), entry); });
  }

  Result<bool> has_value(Key key, const std::string& name) override {
    RS_TRY(const auto units, to_utf16(name));
    RS_TRY(const auto there, at(key));
    RS_TRY(const auto found, editor_.hive().find_value(there, units));
    return found.has_value();
  }

  Result<void> set_value(Key key, const std::string& name, std::uint32_t type, ByteView data) override {
    RS_TRY(const auto units, to_utf16(name));
    return keeping_time(key, [&] { return editor_.set_value(cell_of(key), units, type, data); });
  }

  Result<void> delete_key(Key key) override {
    RS_TRY(const auto gone, at(key));
    RS_TRY(const auto above, editor_.hive().key(gone.parent_cell));
    const auto cell = above.cell;
    const auto written_100ns = above.written_100ns;
    RS_CHECK(editor_.delete_key(gone.cell));
    return editor_.set_written(cell, written_100ns);
  }

  Result<void> delete_value(Key key, const std::string& name) override {
    RS_TRY(const auto units, to_utf16(name));
    return keeping_time(key, [&] { return editor_.delete_value(cell_of(key), units); });
  }

  Result<Listing> enumerate(Key key) override {
    RS_TRY(const auto there, at(key));
    const auto& hive = editor_.hive();
    Listing listing;
    std::vector<std::uint32_t> cells;
    RS_CHECK(hive.subkeys(there, cells));
    for (const auto cell : cells) {
      RS_TRY(const auto subkey, hive.key(cell));
      listing.subkeys.push_back(subkey.name.to_wtf8());
    }
    cells.clear();
    RS_CHECK(hive.values(there, cells));
    for (const auto cell : cells) {
      RS_TRY(const auto value, hive.value(cell));
      listing.values.push_back(value.name.to_wtf8());
    }
    return listing;
  }

  Result<extract::ItemIdentity> save() override {
    auto saved = save_file();
    if (!saved) return fail(std::move(saved).error().with("saving the hive " + path_));
    return saved;
  }

 private:
  static std::uint32_t cell_of(Key key) { return static_cast<std::uint32_t>(key); }
  Result<registry::Key> at(Key key) const { return editor_.hive().key(cell_of(key)); }

  Result<void> set_class_and_security(std::uint32_t cell, const profile::KeyEntry& entry) {
    RS_CHECK(editor_.set_class(cell, entry.class_name));
    if (!entry.security.empty()) RS_CHECK(editor_.set_security(cell, entry.security));
    return {};
  }

  template <class Change>
  Result<void> keeping_time(Key key, const Change& change) {
    RS_TRY(const auto before, at(key));
    const auto written_100ns = before.written_100ns;
    RS_CHECK(change());
    return editor_.set_written(cell_of(key), written_100ns);
  }

  // Whether the file is still what was mounted; an item made meanwhile counts as another.
  Result<void> check_unchanged() {
    auto handle = volume_.open(path_, "");
    if (!handle && handle.error().code != ErrorCode::not_found) return fail(std::move(handle).error());
    if (!handle)
      return state_ ? fail(ErrorCode::conflict, "the file is gone since it was read") : Result<void>();
    if (!state_) return fail(ErrorCode::exists, "there is a file of that name");
    RS_TRY(const auto now, state_of(**handle));
    if (!(now == *state_)) return fail(ErrorCode::conflict, "the file was changed since it was read");
    return {};
  }

  Result<extract::ItemIdentity> save_file() {
    editor_.finish();
    RS_TRY(const auto identity, volume_.stage(staging_path_, file_));
    auto done = fill_and_publish();
    if (!done) {
      if (auto removed = volume_.remove_tree(staging_path_); !removed)
        log_warning("a staged hive stays behind: {}", removed.error().to_string());
      return fail(std::move(done).error());
    }
    return identity;
  }

  Result<void> fill_and_publish() {
    {
      RS_TRY(const auto handle, volume_.open(staging_path_, ""));
      RS_CHECK(handle->write(0, editor_.file()));
      // Loading changes nothing that programs did: the file keeps its times.
      if (state_) {
        RS_CHECK(handle->set_times(state_->times));
      } else if (file_.metadata.written_100ns != 0) {
        RS_CHECK(handle->set_times({file_.metadata.created_100ns, file_.metadata.written_100ns}));
      }
      RS_CHECK(handle->sync());
    }
    RS_CHECK(check_unchanged());
    auto& files = volume_.files();
    RS_CHECK(files.rename(volume_.native_path(staging_path_), volume_.native_path(path_)));
    RS_CHECK(files.sync_directory(volume_.native_path(split(path_).first)));
    RS_TRY(const auto handle, volume_.open(path_, ""));
    RS_TRY(state_, state_of(*handle));
    return {};
  }

  ProfileVolume& volume_;
  const std::string path_;
  const profile::Entry file_;
  registry::Editor editor_;
  std::optional<FileState> state_;  // as it was read; none: it is made
  const std::string staging_path_;
};

Result<std::unique_ptr<HiveFile>> mount_file(ProfileVolume& volume, const std::string& path,
                                             const profile::Entry& file, std::string staging_path) {
  RS_TRY(const auto handle, volume.open(path, ""));
  RS_TRY_CTX(const auto state, path, state_of(*handle));
  RS_TRY(auto bytes, read_all(*handle, state.size_bytes, path));
  RS_TRY(const auto after, state_of(*handle));
  if (!(after == state)) return fail(ErrorCode::conflict, path + " was changed while it was read");
  RS_TRY_CTX(bytes, "hive " + path, recovered(volume, path, std::move(bytes)));
  RS_TRY(auto editor, registry::Editor::open(std::move(bytes), path));
  return std::make_unique<HiveFile>(volume, path, file, std::move(editor), state, std::move(staging_path));
}

}  // namespace

Result<std::unique_ptr<MountedHive>> HiveFilePort::mount(const std::string& path,
                                                         const profile::Entry& file) {
  RS_TRY(auto hive, mount_file(volume_, path, file, new_staging_path_()));
  return std::unique_ptr<MountedHive>(std::move(hive));
}

Result<registry::Editor> HiveFilePort::read(const std::string& path) {
  RS_TRY(const auto hive, mount_file(volume_, path, {}, ""));
  return std::move(hive->editor());
}

Result<bool> HiveFilePort::edit(const std::string& path, const profile::Entry& file,
                                const std::function<Result<bool>(registry::Editor&)>& change) {
  RS_TRY(const auto hive, mount_file(volume_, path, file, new_staging_path_()));
  RS_TRY(const bool changed, change(hive->editor()));
  if (!changed) return false;
  RS_TRY([[maybe_unused]] const auto identity, hive->save());
  return true;
}

Result<std::unique_ptr<MountedHive>> HiveFilePort::make(const std::string& path, const profile::Entry& file,
                                                        const profile::KeyEntry& root) {
  RS_TRY(auto editor,
         registry::Editor::create(kMinorVersion, "ROOT", descriptor_or_empty(root), root.written_100ns));
  auto hive =
      std::make_unique<HiveFile>(volume_, path, file, std::move(editor), std::nullopt, new_staging_path_());
  RS_TRY(const auto key, hive->root());
  RS_CHECK(hive->set_entry(key, root));
  return std::unique_ptr<MountedHive>(std::move(hive));
}

}  // namespace roamstead::agent
