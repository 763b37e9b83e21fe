#include "tests/wine/hooked/directory_volume.h"

#include "agent/win/intercept/windows_parts.h"

namespace roamstead::agent::testing {

namespace {

FILETIME file_time(std::uint64_t time_100ns) {
  return {static_cast<DWORD>(time_100ns), static_cast<DWORD>(time_100ns >> 32)};
}
std::uint64_t number(DWORD high, DWORD low) { return std::uint64_t{high} << 32 | low; }

class Handle final : public VolumeHandle {
 public:
  Handle(win::OwnedHandle handle, std::string path) : handle_(std::move(handle)), path_(std::move(path)) {
    BY_HANDLE_FILE_INFORMATION information{};
    ::GetFileInformationByHandle(handle_.get(), &information);
    record_ = number(information.nFileIndexHigh, information.nFileIndexLow);
  }
  const std::string& path() const { return path_; }

  std::uint64_t record() const override { return record_; }
  const std::string& stream() const override { return stream_; }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override {
    auto at = place(offset);
    DWORD count = 0;
    if (::ReadFile(handle_.get(), out.data(), static_cast<DWORD>(out.size()), &count, &at) == 0 &&
        ::GetLastError() != ERROR_HANDLE_EOF)
      return fail(win::last_windows_error("reading " + path_));
    return std::size_t{count};
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    auto at = place(offset);
    DWORD count = 0;
    if (::WriteFile(handle_.get(), data.data(), static_cast<DWORD>(data.size()), &count, &at) == 0 ||
        count != data.size())
      return fail(win::last_windows_error("writing " + path_));
    return {};
  }
  Result<void> truncate(std::uint64_t size_bytes) override {
    FILE_END_OF_FILE_INFO end{};
    end.EndOfFile.QuadPart = static_cast<LONGLONG>(size_bytes);
    if (::SetFileInformationByHandle(handle_.get(), FileEndOfFileInfo, &end, sizeof end) == 0)
      return fail(win::last_windows_error("resizing " + path_));
    return {};
  }
  Result<std::uint64_t> size() override {
    LARGE_INTEGER size{};
    if (::GetFileSizeEx(handle_.get(), &size) == 0)
      return fail(win::last_windows_error("the size of " + path_));
    return static_cast<std::uint64_t>(size.QuadPart);
  }
  Result<void> sync() override { return {}; }
  Result<ItemTimes> times() override {
    FILETIME created{}, written{};
    if (::GetFileTime(handle_.get(), &created, nullptr, &written) == 0)
      return fail(win::last_windows_error("the times of " + path_));
    // Creation times are not a file's own on every file system below Wine.
    return ItemTimes{0, number(written.dwHighDateTime, written.dwLowDateTime)};
  }
  Result<void> set_times(const ItemTimes& times) override {
    const auto written = file_time(times.written_100ns);
    if (::SetFileTime(handle_.get(), nullptr, nullptr, &written) == 0)
      return fail(win::last_windows_error("setting the times of " + path_));
    return {};
  }

 private:
  static OVERLAPPED place(std::uint64_t offset) {
    OVERLAPPED at{};
    at.Offset = static_cast<DWORD>(offset);
    at.OffsetHigh = static_cast<DWORD>(offset >> 32);
    return at;
  }
  win::OwnedHandle handle_;
  std::string path_, stream_;
  std::uint64_t record_ = 0;
};

}  // namespace

Result<std::unique_ptr<VolumeHandle>> DirectoryVolume::open(const std::string& path, const std::string&) {
  const auto name = win::widen(native_path(path));
  auto handle = win::own(::CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE,
                                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                       OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr));
  if (!handle) return fail(win::last_windows_error("opening " + path));
  return std::unique_ptr<VolumeHandle>(std::make_unique<Handle>(std::move(handle), path));
}

Result<VolumeItem> DirectoryVolume::stat(const std::string& path) {
  const auto handle = win::own(::CreateFileW(win::widen(native_path(path)).c_str(), FILE_READ_ATTRIBUTES,
                                             FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                             OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr));
  BY_HANDLE_FILE_INFORMATION information{};
  if (!handle) {
    auto error = win::last_windows_error("looking at " + path);
    if (::GetLastError() == ERROR_PATH_NOT_FOUND) error.code = ErrorCode::not_found;
    return fail(std::move(error));
  }
  if (::GetFileInformationByHandle(handle.get(), &information) == 0)
    return fail(win::last_windows_error("looking at " + path));
  return VolumeItem{os::base_name(path), number(information.nFileIndexHigh, information.nFileIndexLow),
                    (information.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0,
                    number(information.nFileSizeHigh, information.nFileSizeLow)};
}

Result<VolumeItem> DirectoryVolume::stat_child(VolumeHandle& directory, const std::string& name) {
  return stat(static_cast<Handle&>(directory).path() + "/" + name);
}

Result<std::vector<VolumeItem>> DirectoryVolume::list(const std::string& path) {
  std::vector<VolumeItem> items;
  RS_TRY(const auto names, files().list_directory(native_path(path)));
  for (const auto& name : names) {
    RS_TRY(auto item, stat(path + "/" + name));
    items.push_back(std::move(item));
  }
  return items;
}

Result<extract::ItemIdentity> DirectoryVolume::stage(const std::string& path, const profile::Entry& entry) {
  if (entry.is_directory()) {
    RS_CHECK(make_directories(path));
  } else {
    RS_TRY(const auto file, files().open(native_path(path), os::OpenMode::create_new));
    RS_CHECK(file->truncate(entry.size_bytes));
  }
  RS_TRY(const auto handle, open(path, ""));
  RS_CHECK(handle->set_times({0, entry.metadata.written_100ns}));
  return extract::ItemIdentity{handle->record(), 0, 0};
}

Result<void> DirectoryVolume::publish(const std::string& staged, VolumeHandle& directory,
                                      const std::string& name) {
  return rename(staged, static_cast<Handle&>(directory).path() + "/" + name);
}

Result<void> DirectoryVolume::rename(const std::string& from, const std::string& to) {
  if (::MoveFileExW(win::widen(native_path(from)).c_str(), win::widen(native_path(to)).c_str(), 0) == 0)
    return fail(win::last_windows_error("renaming " + from + " to " + to));
  return {};
}

Result<bool> DirectoryVolume::remove_tree_while(const GoOn& go_on, const std::string& path) {
  if (!go_on()) return false;
  const auto item = stat(path);
  if (!item) return true;
  if (item->directory) {
    RS_TRY(const auto children, list(path));
    for (const auto& child : children) {
      RS_TRY(const bool gone, remove_tree_while(go_on, path + "/" + child.name));
      if (!gone) return false;
    }
    ::RemoveDirectoryW(win::widen(native_path(path)).c_str());
    return true;
  }
  RS_CHECK(files().remove(native_path(path)));
  return true;
}

}  // namespace roamstead::agent::testing
