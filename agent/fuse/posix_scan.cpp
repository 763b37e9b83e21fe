// A mounted volume as a scan reads it: what ntfs-3g tells by stat and by its attributes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>

#include "agent/fuse/posix_volume.h"
#include "common/base/file_time.h"
#include "common/extract/entry_reader.h"

namespace roamstead::agent {
namespace {

constexpr std::uint32_t kAttributeReparsePoint = 0x400;
constexpr std::uint32_t kAttributeEncrypted = 0x4000;
constexpr std::size_t kMostChanged = 10'000;  // folders: beyond that all of them might as well be listed
constexpr std::size_t kMostAttributeBytes = 64 << 10;

std::uint64_t to_windows_time(const timespec& time) {
  return static_cast<std::uint64_t>(time.tv_sec * 10'000'000 + time.tv_nsec / 100) + kUnixEpoch_100ns;
}

ScannedItem to_item(std::string name, const struct stat& status) {
  ScannedItem item;
  item.name = std::move(name);
  item.record = status.st_ino;
  item.directory = S_ISDIR(status.st_mode);
  item.stamp.size_bytes = item.directory ? 0 : static_cast<std::uint64_t>(status.st_size);
  item.stamp.written_100ns = to_windows_time(status.st_mtim);
  item.stamp.changed_100ns = to_windows_time(status.st_ctim);
  item.stamp.links = item.directory ? 1 : static_cast<std::uint32_t>(status.st_nlink);
  return item;
}

// Empty where there is none.
Result<Bytes> attribute(const std::string& native, const char* name) {
  Bytes value(512);
  for (;;) {
    const auto size = ::lgetxattr(native.c_str(), name, value.data(), value.size());
    if (size >= 0) {
      value.resize(static_cast<std::size_t>(size));
      return value;
    }
    if (errno == ENODATA || errno == ENOTSUP) return Bytes();
    if (errno != ERANGE || value.size() >= kMostAttributeBytes)
      return fail(system_error(errno, std::string("read ") + name + " of", native));
    value.resize(value.size() * 4);
  }
}

}  // namespace

void PosixVolume::note_changed(std::uint64_t folder) {
  std::lock_guard lock(changed_mutex_);
  if (!heard_all_) return;
  changed_.insert(folder);
  if (changed_.size() <= kMostChanged) return;
  changed_.clear();
  heard_all_ = false;
}

std::optional<std::set<std::uint64_t>> PosixVolume::changed_folders() {
  std::lock_guard lock(changed_mutex_);
  auto changed = std::exchange(changed_, {});
  if (std::exchange(heard_all_, true)) return changed;
  return std::nullopt;
}

Result<std::vector<ScannedItem>> PosixVolume::list_to_scan(const std::string& path) {
  FileDescriptor descriptor(
      ::openat(root_.get(), relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor && errno == ENOTDIR) return fail(ErrorCode::not_found, path + " is no directory any more");
  if (!descriptor) return fail(system_error(errno, "list", path));
  auto* directory = ::fdopendir(::dup(descriptor.get()));
  if (directory == nullptr) return fail(system_error(errno, "list", path));
  std::unique_ptr<DIR, int (*)(DIR*)> guard(directory, ::closedir);
  std::vector<ScannedItem> items;
  for (;;) {
    errno = 0;
    auto* entry = ::readdir(directory);
    if (entry == nullptr && errno != 0) return fail(system_error(errno, "list", path));
    if (entry == nullptr) return items;
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat status {};
    if (::fstatat(descriptor.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
      items.push_back(to_item(std::move(name), status));
    } else if (errno != ENOENT) {  // gone meanwhile: not there
      return fail(system_error(errno, "stat", path + "/" + name));
    }
  }
}

Result<ScannedItem> PosixVolume::look(const std::string& path) {
  struct stat status {};
  if (::fstatat(root_.get(), relative(path), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return to_item(os::base_name(path), status);
  if (errno == ENOTDIR) return fail(ErrorCode::not_found, path + ": what is above it is no directory");
  return fail(system_error(errno, "stat", path));
}

Result<ItemDetails> PosixVolume::details(const std::string& path) {
  ItemDetails details;
  struct stat status {};
  if (::fstatat(root_.get(), relative(path), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOTDIR) return fail(ErrorCode::not_found, path + ": what is above it is no directory");
    return fail(system_error(errno, "stat", path));
  }
  details.item = to_item(os::base_name(path), status);
  if (S_ISREG(status.st_mode))
    details.streams.push_back({"", static_cast<std::uint64_t>(status.st_size), status.st_blocks != 0});
  if (!ntfs_) {
    struct statx times {};
    if (::statx(root_.get(), relative(path), AT_SYMLINK_NOFOLLOW, STATX_BTIME, &times) != 0)
      return fail(system_error(errno, "stat", path));
    if ((times.stx_mask & STATX_BTIME) != 0)
      details.created_100ns =
          to_windows_time({times.stx_btime.tv_sec, static_cast<long>(times.stx_btime.tv_nsec)});
    return details;
  }
  auto added = add_ntfs_details(path, details);
  if (!added && added.error().code != ErrorCode::not_found) return fail(std::move(added).error());
  // Between two of these questions another item may have got the name.
  struct stat after {};
  if (!added || ::fstatat(root_.get(), relative(path), &after, AT_SYMLINK_NOFOLLOW) != 0 ||
      after.st_ino != status.st_ino)
    return fail(ErrorCode::not_found, path + " was moved or replaced just now");
  return details;
}

Result<void> PosixVolume::add_ntfs_details(const std::string& path, ItemDetails& details) const {
  const auto native = native_path(path);
  RS_TRY(const auto attributes, attribute(native, "system.ntfs_attrib"));
  if (attributes.size() >= 4) details.attributes = load_le<std::uint32_t>(attributes, 0);
  RS_TRY(const auto times, attribute(native, "system.ntfs_times"));
  if (times.size() >= 16) details.created_100ns = load_le<std::uint64_t>(times, 0);
  RS_TRY(details.security, attribute(native, "system.ntfs_acl"));
  if (extract::is_stand_in(details.security)) details.security.clear();
  if (!details.item.directory &&
      (details.attributes & kAttributeEncrypted) != 0)  // of a folder: what is made there
    details.blocked = "unsupported: encrypted (EFS)";
  if ((details.attributes & kAttributeReparsePoint) != 0) {
    RS_TRY(const auto reparse, attribute(native, "system.ntfs_reparse_data"));
    if (reparse.size() >= 8) {
      details.reparse_tag = load_le<std::uint32_t>(reparse, 0);
      details.reparse_data.assign(reparse.begin() + 8, reparse.end());
    }
  }
  RS_TRY(const auto list, attribute(native, "ntfs.streams.list"));
  std::size_t begin = 0;
  while (begin < list.size()) {
    auto end = begin;
    while (end < list.size() && list[end] != std::byte{0}) ++end;
    const std::string name(as_text(ByteView(list).subspan(begin, end - begin)));
    begin = end + 1;
    if (name.empty()) continue;
    struct stat status {};
    const auto stream = path + ":" + name;
    if (::fstatat(root_.get(), stream.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail(system_error(errno, "stat", stream));
    details.streams.push_back({name, static_cast<std::uint64_t>(status.st_size), status.st_size != 0});
  }
  return {};
}

Result<std::unique_ptr<VolumeHandle>> PosixVolume::open_to_read(const std::string& path,
                                                                const std::string& stream) {
  struct stat status {};
  const auto name = stream.empty() ? path : path + ":" + stream;
  FileDescriptor descriptor(::openat(root_.get(), relative(name), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor && (errno == ELOOP || errno == ENOTDIR))
    return fail(ErrorCode::not_found, path + " is another item by now");
  if (!descriptor) return fail(system_error(errno, "open", name));
  if (::fstatat(root_.get(), relative(path), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(system_error(errno, "open", path));
  FileDescriptor item;
  if (!stream.empty()) {
    item = FileDescriptor(::openat(root_.get(), relative(path), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!item) return fail(system_error(errno, "open", path));
  }
  return std::unique_ptr<VolumeHandle>(
      new PosixHandle(std::move(descriptor), std::move(item), stream, status.st_ino, ntfs_));
}

}  // namespace roamstead::agent
