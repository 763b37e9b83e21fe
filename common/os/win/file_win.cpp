#include <windows.h>

#include <algorithm>

#include "common/base/text.h"
#include "common/os/file.h"

namespace roamstead::os {
namespace {

tl::unexpected<Error> system_error(const std::string& what, const std::string& path) {
  auto number = ::GetLastError();
  auto code = ErrorCode::io;
  if (number == ERROR_FILE_NOT_FOUND || number == ERROR_PATH_NOT_FOUND) code = ErrorCode::not_found;
  if (number == ERROR_FILE_EXISTS || number == ERROR_ALREADY_EXISTS || number == ERROR_DIR_NOT_EMPTY)
    code = ErrorCode::exists;
  if (number == ERROR_ACCESS_DENIED || number == ERROR_WRITE_PROTECT) code = ErrorCode::denied;
  if (number == ERROR_DISK_FULL || number == ERROR_HANDLE_DISK_FULL) code = ErrorCode::full;
  if (number == ERROR_SHARING_VIOLATION || number == ERROR_LOCK_VIOLATION) code = ErrorCode::busy;
  return fail(code, path + ": " + what + ": Windows error " + std::to_string(number));
}

Result<std::wstring> wide(const std::string& path) {
  RS_TRY(auto units, to_utf16(path));
  std::replace(units.begin(), units.end(), u'/', u'\\');
  return std::wstring(units.begin(), units.end());
}

OVERLAPPED at_offset(std::uint64_t offset) {
  OVERLAPPED overlapped{};
  overlapped.Offset = static_cast<DWORD>(offset);
  overlapped.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return overlapped;
}

constexpr std::size_t kMaxTransfer = std::size_t{1} << 26;

class WindowsFile final : public File {
 public:
  WindowsFile(HANDLE handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  ~WindowsFile() override { ::CloseHandle(handle_); }
  WindowsFile(const WindowsFile&) = delete;
  WindowsFile& operator=(const WindowsFile&) = delete;

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      auto overlapped = at_offset(offset + done);
      DWORD count = 0;
      auto want = static_cast<DWORD>(std::min(out.size() - done, kMaxTransfer));
      if (::ReadFile(handle_, out.data() + done, want, &count, &overlapped) == 0) {
        if (::GetLastError() == ERROR_HANDLE_EOF) break;
        return system_error("cannot read at offset " + std::to_string(offset + done), path_);
      }
      if (count == 0) break;
      done += count;
    }
    return done;
  }

  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    std::size_t done = 0;
    while (done < data.size()) {
      auto overlapped = at_offset(offset + done);
      DWORD count = 0;
      auto want = static_cast<DWORD>(std::min(data.size() - done, kMaxTransfer));
      if (::WriteFile(handle_, data.data() + done, want, &count, &overlapped) == 0)
        return system_error("cannot write at offset " + std::to_string(offset + done), path_);
      done += count;
    }
    return {};
  }

  Result<std::uint64_t> size() const override {
    LARGE_INTEGER size{};
    if (::GetFileSizeEx(handle_, &size) == 0) return system_error("cannot find the size", path_);
    return static_cast<std::uint64_t>(size.QuadPart);
  }

  Result<void> truncate(std::uint64_t size_bytes) override {
    FILE_END_OF_FILE_INFO end{};
    end.EndOfFile.QuadPart = static_cast<LONGLONG>(size_bytes);
    if (::SetFileInformationByHandle(handle_, FileEndOfFileInfo, &end, sizeof end) == 0)
      return system_error("cannot resize", path_);
    return {};
  }

  Result<void> allocate(std::uint64_t size_bytes) override {
    RS_TRY(auto now, size());
    if (now >= size_bytes) return {};
    FILE_ALLOCATION_INFO room{};
    room.AllocationSize.QuadPart = static_cast<LONGLONG>(size_bytes);
    if (::SetFileInformationByHandle(handle_, FileAllocationInfo, &room, sizeof room) == 0)
      return system_error("cannot take the room", path_);
    return truncate(size_bytes);
  }

  Result<void> sync() override {
    if (::FlushFileBuffers(handle_) == 0) return system_error("cannot flush", path_);
    return {};
  }

  Result<void> lock(bool exclusive) override {
    // The last byte of the 64-bit space: never part of the data, so the lock does not hinder readers and
    // writers.
    OVERLAPPED overlapped = at_offset(~std::uint64_t{0} - 1);
    DWORD flags = LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0);
    if (::LockFileEx(handle_, flags, 0, 1, 0, &overlapped) == 0)
      return system_error("in use by another program", path_);
    return {};
  }

  const std::string& path() const override { return path_; }

 private:
  HANDLE handle_;
  std::string path_;
};

class WindowsFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    RS_TRY(auto name, wide(path));
    DWORD access = mode == OpenMode::read ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE;
    DWORD disposition = mode == OpenMode::create_new ? CREATE_NEW
                        : mode == OpenMode::create   ? OPEN_ALWAYS
                                                     : OPEN_EXISTING;
    auto handle = ::CreateFileW(name.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                nullptr, disposition, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (handle == INVALID_HANDLE_VALUE) return system_error("cannot open", path);
    return std::make_unique<WindowsFile>(handle, path);
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    RS_TRY(auto source, wide(from));
    RS_TRY(auto target, wide(to));
    if (::MoveFileExW(source.c_str(), target.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) ==
        0)
      return system_error("cannot rename to " + to, from);
    return {};
  }

  Result<void> link(const std::string& from, const std::string& to) override {
    RS_TRY(auto source, wide(from));
    RS_TRY(auto target, wide(to));
    if (::CreateHardLinkW(target.c_str(), source.c_str(), nullptr) == 0)
      return system_error("cannot link to " + to, from);
    return {};
  }

  Result<bool> same_file(const std::string& a, const std::string& b) override {
    RS_TRY(auto first, identity(a));
    RS_TRY(auto second, identity(b));
    return first == second;
  }

  Result<void> remove(const std::string& path) override {
    RS_TRY(auto name, wide(path));
    auto attributes = ::GetFileAttributesW(name.c_str());
    bool directory = attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    if ((directory ? ::RemoveDirectoryW(name.c_str()) : ::DeleteFileW(name.c_str())) == 0)
      return system_error("cannot remove", path);
    return {};
  }

  Result<bool> exists(const std::string& path) override {
    RS_TRY(auto name, wide(path));
    if (::GetFileAttributesW(name.c_str()) != INVALID_FILE_ATTRIBUTES) return true;
    auto number = ::GetLastError();
    if (number == ERROR_FILE_NOT_FOUND || number == ERROR_PATH_NOT_FOUND) return false;
    return system_error("cannot stat", path);
  }

  Result<std::int64_t> modified_seconds(const std::string& path) override {
    RS_TRY(auto name, wide(path));
    WIN32_FILE_ATTRIBUTE_DATA data{};
    if (::GetFileAttributesExW(name.c_str(), GetFileExInfoStandard, &data) == 0)
      return system_error("cannot stat", path);
    constexpr std::int64_t kTicksPerSecond = 10'000'000;
    constexpr std::int64_t kFrom1601To1970 = 11'644'473'600;
    auto ticks = std::int64_t{data.ftLastWriteTime.dwHighDateTime} << 32 | data.ftLastWriteTime.dwLowDateTime;
    return ticks / kTicksPerSecond - kFrom1601To1970;
  }

  Result<std::vector<std::string>> list_directory(const std::string& path) override {
    RS_TRY(auto pattern, wide(path + "/*"));
    WIN32_FIND_DATAW found{};
    auto handle = ::FindFirstFileW(pattern.c_str(), &found);
    if (handle == INVALID_HANDLE_VALUE) return system_error("cannot list", path);
    std::vector<std::string> names;
    do {
      std::wstring name = found.cFileName;
      if (name != L"." && name != L"..") names.push_back(to_wtf8(std::u16string(name.begin(), name.end())));
    } while (::FindNextFileW(handle, &found) != 0);
    ::FindClose(handle);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<void> make_directories(const std::string& path) override {
    RS_TRY(auto name, wide(path));
    if (::CreateDirectoryW(name.c_str(), nullptr) != 0 || ::GetLastError() == ERROR_ALREADY_EXISTS) return {};
    if (::GetLastError() != ERROR_PATH_NOT_FOUND) return system_error("cannot make the directory", path);
    auto parent = parent_directory(path);
    if (parent == path || parent == ".") return system_error("cannot make the directory", path);
    RS_CHECK(make_directories(parent));
    if (::CreateDirectoryW(name.c_str(), nullptr) == 0 && ::GetLastError() != ERROR_ALREADY_EXISTS)
      return system_error("cannot make the directory", path);
    return {};
  }

  // NTFS journals names itself, and MoveFileEx above writes through.
  Result<void> sync_directory(const std::string&) override { return {}; }

 private:
  // Volume serial number and file index.
  static Result<std::pair<std::uint64_t, std::uint64_t>> identity(const std::string& path) {
    RS_TRY(auto name, wide(path));
    auto handle = ::CreateFileW(name.c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                nullptr, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
    if (handle == INVALID_HANDLE_VALUE) return system_error("cannot open", path);
    BY_HANDLE_FILE_INFORMATION information{};
    auto there = ::GetFileInformationByHandle(handle, &information);
    ::CloseHandle(handle);
    if (there == 0) return system_error("cannot query", path);
    return std::pair<std::uint64_t, std::uint64_t>(
        information.dwVolumeSerialNumber,
        (std::uint64_t{information.nFileIndexHigh} << 32) | information.nFileIndexLow);
  }
};

}  // namespace

FileSystem& real_file_system() {
  static WindowsFileSystem instance;
  return instance;
}

}  // namespace roamstead::os
