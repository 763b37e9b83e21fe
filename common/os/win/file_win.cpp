#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "common/base/text.h"
#include "common/os/file.h"
#include "common/os/win/handle.h"
#include "common/os/win/native.h"

namespace roamstead::os {
namespace {

constexpr std::size_t kMaxTransfer = std::size_t{1} << 26;
constexpr DWORD kShareAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
// A file that grows by less is not worth being sparse.
constexpr std::uint64_t kLeastHoleBytes = 1u << 20;

// These are in Windows' documentation, but not in the headers of every mingw-w64.
constexpr auto kDispositionInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(21);
constexpr auto kRenameInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
constexpr DWORD kDispositionDelete = 0x1, kDispositionPosix = 0x2, kDispositionIgnoreReadOnly = 0x10;
constexpr DWORD kRenameReplace = 0x1, kRenamePosix = 0x2;
struct RenameInfoEx {  // FILE_RENAME_INFO, without its name
  DWORD flags;
  HANDLE root;
  DWORD name_bytes;
};
constexpr std::size_t kRenameNameOffset = offsetof(RenameInfoEx, name_bytes) + sizeof(DWORD);

// Only SYSTEM, administrators and whoever makes it: what mode 0700 is elsewhere. What is made inside inherits
// it.
constexpr const wchar_t* kPrivate = L"D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)";

OVERLAPPED at_offset(std::uint64_t offset) {
  OVERLAPPED overlapped{};
  overlapped.Offset = static_cast<DWORD>(offset);
  overlapped.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return overlapped;
}

// The last byte of the 64-bit space: never part of the data, so a lock on it, which Windows enforces, does
// not hinder readers and writers.
OVERLAPPED lock_place() { return at_offset(~std::uint64_t{0} - 1); }

// Whether a call failed because this Windows or this file system does not know what it asks for.
bool is_unknown_to_windows() {
  const auto number = ::GetLastError();
  return number == ERROR_INVALID_PARAMETER || number == ERROR_NOT_SUPPORTED ||
         number == ERROR_INVALID_FUNCTION || number == ERROR_CALL_NOT_IMPLEMENTED;
}

class WindowsFile final : public File {
 public:
  WindowsFile(HANDLE handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  ~WindowsFile() override {
    // Closing unlocks too, but Windows leaves open when.
    if (is_locked_) {
      auto overlapped = lock_place();
      ::UnlockFileEx(handle_.get(), 0, 1, 0, &overlapped);
    }
  }

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      auto overlapped = at_offset(offset + done);
      DWORD count = 0;
      auto want = static_cast<DWORD>(std::min(out.size() - done, kMaxTransfer));
      if (::ReadFile(handle_.get(), out.data() + done, want, &count, &overlapped) == 0) {
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
      if (::WriteFile(handle_.get(), data.data() + done, want, &count, &overlapped) == 0)
        return system_error("cannot write at offset " + std::to_string(offset + done), path_);
      done += count;
    }
    return {};
  }

  Result<std::uint64_t> size() const override {
    LARGE_INTEGER size{};
    if (::GetFileSizeEx(handle_.get(), &size) == 0) return system_error("cannot find the size", path_);
    return static_cast<std::uint64_t>(size.QuadPart);
  }

  // Without holes NTFS writes zeros up to where a file that has grown is first written: gigabytes, where a
  // disk is written at its end.
  Result<void> truncate(std::uint64_t size_bytes) override {
    RS_TRY(const auto now, size());
    if (size_bytes > now && size_bytes - now >= kLeastHoleBytes) {
      DWORD returned = 0;
      ::DeviceIoControl(handle_.get(), FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &returned, nullptr);
    }
    return set_end(size_bytes);
  }

  Result<void> allocate(std::uint64_t size_bytes) override {
    RS_TRY(const auto now, size());
    if (now >= size_bytes) return {};
    FILE_ALLOCATION_INFO room{};
    room.AllocationSize.QuadPart = static_cast<LONGLONG>(size_bytes);
    if (::SetFileInformationByHandle(handle_.get(), FileAllocationInfo, &room, sizeof room) != 0)
      return set_end(size_bytes);
    if (is_unknown_to_windows()) return File::allocate(size_bytes);
    return system_error("cannot take the room", path_);
  }

  Result<void> sync() override {
    if (::FlushFileBuffers(handle_.get()) == 0) return system_error("cannot flush", path_);
    return {};
  }

  Result<void> lock(bool exclusive) override {
    auto overlapped = lock_place();
    DWORD flags = LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0);
    if (::LockFileEx(handle_.get(), flags, 0, 1, 0, &overlapped) == 0)
      return system_error("in use by another program", path_);
    is_locked_ = true;
    return {};
  }

  const std::string& path() const override { return path_; }

 private:
  Result<void> set_end(std::uint64_t size_bytes) {
    FILE_END_OF_FILE_INFO end{};
    end.EndOfFile.QuadPart = static_cast<LONGLONG>(size_bytes);
    if (::SetFileInformationByHandle(handle_.get(), FileEndOfFileInfo, &end, sizeof end) == 0)
      return system_error("cannot resize", path_);
    return {};
  }

  Handle handle_;
  bool is_locked_ = false;
  std::string path_;
};

// Does it until no other program is in the way, or half a second has passed: virus scanners and indexers open
// what has just been written. False, and Windows' last error, when it failed.
template <class Action>
bool patiently(Action action) {
  for (DWORD pause_ms = 1;; pause_ms *= 2) {
    if (action()) return true;
    if (::GetLastError() != ERROR_SHARING_VIOLATION || pause_ms > 256) return false;
    ::Sleep(pause_ms);
  }
}

// A name for which others may have opened the file goes at once, and may be used again: what POSIX does, and
// Windows since 10.0.16299 on NTFS. Before that (and in Wine 8) a file that is open keeps its name until it
// is closed, and cannot be replaced.
bool rename_at_once(const std::wstring& from, const std::wstring& to) {
  // FILE_FLAG_WRITE_THROUGH: NTFS has it on the disk when the call returns.
  const Handle source(::CreateFileW(
      from.c_str(), DELETE | SYNCHRONIZE, kShareAll, nullptr, OPEN_EXISTING,
      FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_WRITE_THROUGH, nullptr));
  if (!source) return false;
  const auto name_bytes = to.size() * sizeof(wchar_t);
  const RenameInfoEx info{kRenameReplace | kRenamePosix, nullptr, static_cast<DWORD>(name_bytes)};
  // At least the whole structure, of which the name's first two units are in the padding.
  Bytes buffer(std::max(kRenameNameOffset + name_bytes + sizeof(wchar_t), sizeof info + sizeof(wchar_t)));
  std::memcpy(buffer.data(), &info, sizeof info);
  std::memcpy(buffer.data() + kRenameNameOffset, to.data(), name_bytes);
  if (::SetFileInformationByHandle(source.get(), kRenameInfoEx, buffer.data(),
                                   static_cast<DWORD>(buffer.size())) != 0)
    return true;
  return false;
}

bool remove_at_once(const std::wstring& name) {
  const Handle file(::CreateFileW(name.c_str(), DELETE | SYNCHRONIZE, kShareAll, nullptr, OPEN_EXISTING,
                                  FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, nullptr));
  if (!file) return false;
  DWORD flags = kDispositionDelete | kDispositionPosix | kDispositionIgnoreReadOnly;
  return ::SetFileInformationByHandle(file.get(), kDispositionInfoEx, &flags, sizeof flags) != 0;
}

bool remove_in_the_end(const std::wstring& name) {
  const auto attributes = ::GetFileAttributesW(name.c_str());
  const bool directory =
      attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  return (directory ? ::RemoveDirectoryW(name.c_str()) : ::DeleteFileW(name.c_str())) != 0;
}

bool make_private_directory(const std::wstring& name) {
  void* descriptor = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(kPrivate, SDDL_REVISION_1, &descriptor,
                                                             nullptr) == 0)
    return false;
  SECURITY_ATTRIBUTES security{sizeof security, descriptor, FALSE};
  const bool made = ::CreateDirectoryW(name.c_str(), &security) != 0;
  const auto saved = ::GetLastError();
  ::LocalFree(descriptor);
  ::SetLastError(saved);
  return made;
}

class WindowsFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    RS_TRY(auto name, native_path(path));
    DWORD access = mode == OpenMode::read ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE;
    DWORD disposition = mode == OpenMode::create_new ? CREATE_NEW
                        : mode == OpenMode::create   ? OPEN_ALWAYS
                                                     : OPEN_EXISTING;
    auto handle =
        ::CreateFileW(name.c_str(), access, kShareAll, nullptr, disposition, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (handle == INVALID_HANDLE_VALUE) return system_error("cannot open", path);
    return std::make_unique<WindowsFile>(handle, path);
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    RS_TRY(auto source, native_path(from));
    RS_TRY(auto target, native_path(to));
    const bool renamed = patiently([&] {
      if (rename_at_once(source, target)) return true;
      return is_unknown_to_windows() &&
             ::MoveFileExW(source.c_str(), target.c_str(),
                           MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) != 0;
    });
    if (!renamed) return system_error("cannot rename to " + to, from);
    return {};
  }

  Result<void> link(const std::string& from, const std::string& to) override {
    RS_TRY(auto source, native_path(from));
    RS_TRY(auto target, native_path(to));
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
    RS_TRY(auto name, native_path(path));
    const bool removed = patiently(
        [&] { return remove_at_once(name) || (is_unknown_to_windows() && remove_in_the_end(name)); });
    if (!removed) return system_error("cannot remove", path);
    return {};
  }

  Result<bool> exists(const std::string& path) override {
    RS_TRY(auto name, native_path(path));
    if (::GetFileAttributesW(name.c_str()) != INVALID_FILE_ATTRIBUTES) return true;
    auto number = ::GetLastError();
    if (number == ERROR_FILE_NOT_FOUND || number == ERROR_PATH_NOT_FOUND) return false;
    return system_error("cannot stat", path);
  }

  Result<std::int64_t> modified_seconds(const std::string& path) override {
    RS_TRY(auto name, native_path(path));
    WIN32_FILE_ATTRIBUTE_DATA data{};
    if (::GetFileAttributesExW(name.c_str(), GetFileExInfoStandard, &data) == 0)
      return system_error("cannot stat", path);
    constexpr std::int64_t kTicksPerSecond = 10'000'000;
    constexpr std::int64_t kFrom1601To1970 = 11'644'473'600;
    auto ticks = std::int64_t{data.ftLastWriteTime.dwHighDateTime} << 32 | data.ftLastWriteTime.dwLowDateTime;
    return ticks / kTicksPerSecond - kFrom1601To1970;
  }

  Result<std::vector<std::string>> list_directory(const std::string& path) override {
    RS_TRY(auto pattern, native_path(path + "/*"));
    WIN32_FIND_DATAW found{};
    auto handle = ::FindFirstFileExW(pattern.c_str(), FindExInfoBasic, &found, FindExSearchNameMatch, nullptr,
                                     FIND_FIRST_EX_LARGE_FETCH);
    if (handle == INVALID_HANDLE_VALUE) return system_error("cannot list", path);
    std::vector<std::string> names;
    do {
      std::wstring name = found.cFileName;
      if (name != L"." && name != L"..") names.push_back(to_wtf8(std::u16string(name.begin(), name.end())));
    } while (::FindNextFileW(handle, &found) != 0);
    const auto number = ::GetLastError();
    ::FindClose(handle);
    ::SetLastError(number);
    if (number != ERROR_NO_MORE_FILES) return system_error("cannot list all of", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<void> make_directories(const std::string& path) override {
    RS_TRY(auto name, native_path(path));
    if (make_private_directory(name) || ::GetLastError() == ERROR_ALREADY_EXISTS) return {};
    if (::GetLastError() != ERROR_PATH_NOT_FOUND) return system_error("cannot make the directory", path);
    auto parent = parent_directory(path);
    if (parent == path || parent == ".") return system_error("cannot make the directory", path);
    RS_CHECK(make_directories(parent));
    if (!make_private_directory(name) && ::GetLastError() != ERROR_ALREADY_EXISTS)
      return system_error("cannot make the directory", path);
    return {};
  }

  // A file's name is durable with the file's own flush, and renaming writes through; what is left are removed
  // names and links.
  Result<void> sync_directory(const std::string& path) override {
    RS_TRY(auto name, native_path(path));
    const Handle directory(::CreateFileW(name.c_str(), FILE_ADD_FILE | SYNCHRONIZE, kShareAll, nullptr,
                                         OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr));
    if (!directory) return system_error("cannot open", path);
    // File systems that cannot flush a directory alone say so; NTFS has the change in its log then, and
    // writes that within seconds.
    if (::FlushFileBuffers(directory.get()) == 0 && !is_unknown_to_windows() &&
        ::GetLastError() != ERROR_ACCESS_DENIED)
      return system_error("cannot flush the directory", path);
    return {};
  }

 private:
  // Volume serial number and file index.
  static Result<std::pair<std::uint64_t, std::uint64_t>> identity(const std::string& path) {
    RS_TRY(auto name, native_path(path));
    const Handle handle(::CreateFileW(name.c_str(), 0, kShareAll, nullptr, OPEN_EXISTING,
                                      FILE_FLAG_BACKUP_SEMANTICS, nullptr));
    if (!handle) return system_error("cannot open", path);
    BY_HANDLE_FILE_INFORMATION information{};
    if (::GetFileInformationByHandle(handle.get(), &information) == 0)
      return system_error("cannot query", path);
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
