#include "agent/fuse/posix_volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/core/link_data.h"
#include "common/base/file_time.h"
#include "common/base/text.h"

namespace roamstead::agent {

using extract::ItemIdentity;
using profile::Entry;
using profile::EntryKind;

namespace {

std::uint64_t to_windows_time(std::int64_t seconds, std::uint32_t nanoseconds) {
  return static_cast<std::uint64_t>(seconds * 10'000'000 + nanoseconds / 100) + kUnixEpoch_100ns;
}

timespec to_timespec(std::uint64_t time_100ns) {
  auto since = static_cast<std::int64_t>(time_100ns - kUnixEpoch_100ns);
  auto seconds = since >= 0 ? since / 10'000'000 : -((-since + 9'999'999) / 10'000'000);
  return {seconds, (since - seconds * 10'000'000) * 100};
}

Error failed(const std::string& what, const std::string& path) { return system_error(errno, what, path); }

}  // namespace

Result<std::size_t> PosixHandle::read(std::uint64_t offset, MutableByteView out) {
  std::size_t done = 0;
  while (done < out.size()) {
    auto count =
        ::pread(descriptor_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(failed("read", "record " + std::to_string(record_)));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<void> PosixHandle::write(std::uint64_t offset, ByteView data) {
  std::size_t done = 0;
  while (done < data.size()) {
    auto count = ::pwrite(descriptor_.get(), data.data() + done, data.size() - done,
                          static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(failed("write", "record " + std::to_string(record_)));
    done += static_cast<std::size_t>(count);
  }
  return {};
}

Result<void> PosixHandle::truncate(std::uint64_t size_bytes) {
  if (::ftruncate(descriptor_.get(), static_cast<off_t>(size_bytes)) != 0)
    return fail(failed("truncate", "record " + std::to_string(record_)));
  return {};
}

Result<std::uint64_t> PosixHandle::size() {
  struct stat status {};
  if (::fstat(descriptor_.get(), &status) != 0)
    return fail(failed("stat", "record " + std::to_string(record_)));
  return static_cast<std::uint64_t>(status.st_size);
}

Result<void> PosixHandle::sync() {
  if (::fsync(descriptor_.get()) != 0) return fail(failed("sync", "record " + std::to_string(record_)));
  return {};
}

Result<ItemTimes> PosixHandle::times() {
  ItemTimes times;
  if (ntfs_) {
    std::array<std::byte, 32> raw;  // creation, write, access, change: little-endian, 100 ns since 1601
    if (::getxattr(item().proc_path().c_str(), "system.ntfs_times", raw.data(), raw.size()) < 16)
      return fail(failed("read the times of", "record " + std::to_string(record_)));
    return ItemTimes{load_le<std::uint64_t>(raw, 0), load_le<std::uint64_t>(raw, 8)};
  }
  struct statx status {};
  if (::statx(item().get(), "", AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &status) != 0)
    return fail(failed("stat", "record " + std::to_string(record_)));
  if ((status.stx_mask & STATX_BTIME) != 0)
    times.created_100ns = to_windows_time(status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
  times.written_100ns = to_windows_time(status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec);
  return times;
}

Result<void> PosixHandle::set_times(const ItemTimes& times) {
  auto path = item().proc_path();
  if (ntfs_) {
    std::array<std::byte, 16> raw;
    store_le<std::uint64_t>(raw, 0, times.created_100ns);
    store_le<std::uint64_t>(raw, 8, times.written_100ns);
    if (::setxattr(path.c_str(), "system.ntfs_times", raw.data(), raw.size(), 0) != 0)
      return fail(failed("set the times of", "record " + std::to_string(record_)));
    return {};
  }
  timespec values[2] = {{0, UTIME_OMIT}, to_timespec(times.written_100ns)};
  if (::utimensat(AT_FDCWD, path.c_str(), values, 0) != 0)
    return fail(failed("set the times of", "record " + std::to_string(record_)));
  return {};
}

Result<std::unique_ptr<PosixVolume>> PosixVolume::attach(const std::string& directory,
                                                         const std::string& profile_root) {
  FileDescriptor root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail(failed("open the volume at", directory));
  std::byte attributes[8];
  bool ntfs = ::fgetxattr(root.get(), "system.ntfs_attrib", attributes, sizeof attributes) == 4;
  if (ntfs && ::fgetxattr(root.get(), "ntfs.streams.list", nullptr, 0) < 0 && errno != ERANGE)
    return fail(ErrorCode::unsupported,
                "the volume at " + directory +
                    " does not show alternate streams: mount it with ntfs-3g -o streams_interface=windows");
  return std::unique_ptr<PosixVolume>(new PosixVolume(directory, profile_root, std::move(root), ntfs));
}

std::string PosixVolume::native_path(const std::string& path) const {
  return os::join_path(directory_, path);
}

Result<std::unique_ptr<VolumeHandle>> PosixVolume::open(const std::string& path, const std::string& stream) {
  struct stat status {};
  if (::fstatat(root_.get(), relative(path), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(failed("open", path));
  bool directory = S_ISDIR(status.st_mode);
  if (!directory && !S_ISREG(status.st_mode))
    return fail(ErrorCode::unsupported, path + " is neither file nor directory");
  auto name = stream.empty() ? path : path + ":" + stream;
  FileDescriptor descriptor(
      ::openat(root_.get(), relative(name),
               (directory && stream.empty() ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor) return fail(failed("open", name));
  FileDescriptor item;
  if (!stream.empty()) {
    item = FileDescriptor(::openat(root_.get(), relative(path), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!item) return fail(failed("open", path));
  }
  return std::unique_ptr<VolumeHandle>(
      new PosixHandle(std::move(descriptor), std::move(item), stream, status.st_ino, ntfs_));
}

namespace {
Result<VolumeItem> stat_at(int directory, const std::string& name) {
  struct stat status {};
  if (::fstatat(directory, relative(name), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(failed("stat", name));
  return VolumeItem{name, status.st_ino, S_ISDIR(status.st_mode), static_cast<std::uint64_t>(status.st_size)};
}

Result<void> rename_without_replacing(int from_directory, const std::string& from, int to_directory,
                                      const std::string& to) {
  if (::renameat2(from_directory, from.c_str(), to_directory, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS) return fail(failed("rename " + from + " to", to));
  // ntfs-3g knows no flags; nobody but this process changes the volume, and it makes each name in one place.
  struct stat status {};
  if (::fstatat(to_directory, to.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return fail(ErrorCode::exists, "cannot rename " + from + ": " + to + " exists");
  if (errno != ENOENT) return fail(failed("stat", to));
  if (::renameat(from_directory, from.c_str(), to_directory, to.c_str()) != 0)
    return fail(failed("rename " + from + " to", to));
  return {};
}
}  // namespace

Result<VolumeItem> PosixVolume::stat(const std::string& path) { return stat_at(root_.get(), path); }

Result<VolumeItem> PosixVolume::stat_child(VolumeHandle& directory, const std::string& name) {
  return stat_at(static_cast<PosixHandle&>(directory).descriptor(), name);
}

Result<std::vector<VolumeItem>> PosixVolume::list(const std::string& path) {
  FileDescriptor descriptor(
      ::openat(root_.get(), relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor) return fail(failed("list", path));
  auto* directory = ::fdopendir(::dup(descriptor.get()));
  if (directory == nullptr) return fail(failed("list", path));
  std::unique_ptr<DIR, int (*)(DIR*)> guard(directory, ::closedir);
  std::vector<VolumeItem> items;
  for (;;) {
    errno = 0;
    auto* entry = ::readdir(directory);
    if (entry == nullptr && errno != 0) return fail(failed("list", path));
    if (entry == nullptr) return items;
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    auto item = stat_at(descriptor.get(), name);
    if (item) items.push_back(std::move(*item));  // gone meanwhile: not there
  }
}

Result<void> PosixVolume::make_directories(const std::string& path) {
  for (std::size_t slash = 0; slash != std::string::npos;) {
    slash = path.find('/', slash + 1);
    auto part = path.substr(0, slash);
    if (::mkdirat(root_.get(), part.c_str(), 0755) != 0 && errno != EEXIST)
      return fail(failed("make the directory", part));
  }
  return {};
}

Result<FileDescriptor> PosixVolume::make_item(const std::string& path, const Entry& entry) {
  if (entry.kind == EntryKind::directory) {
    if (::mkdirat(root_.get(), path.c_str(), 0755) != 0) return fail(failed("make", path));
    FileDescriptor directory(::openat(root_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return fail(failed("open", path));
    return directory;
  }
  FileDescriptor file(::openat(root_.get(), path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return fail(failed("make", path));
  if (entry.kind == EntryKind::file && entry.size_bytes != 0 &&
      ::ftruncate(file.get(), static_cast<off_t>(entry.size_bytes)) != 0)
    return fail(failed("size", path));
  return file;
}

Result<ItemIdentity> PosixVolume::stage(const std::string& path, const Entry& entry) {
  if (entry.kind == EntryKind::junction || entry.kind == EntryKind::symlink) return stage_link(path, entry);
  RS_TRY(auto item, make_item(path, entry));
  for (auto& stream : entry.streams) {
    if (!ntfs_)
      return fail(ErrorCode::unsupported, "alternate stream '" + stream.name + "': the volume is not NTFS");
    auto name = path + ":" + stream.name;
    FileDescriptor file(::openat(root_.get(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(stream.size_bytes)) != 0)
      return fail(failed("make", name));
  }
  RS_CHECK(set_metadata(item, path, entry));
  // The number is known since the item was made: no need to ask the volume again.
  struct statx status {};
  if (::statx(item.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) != 0)
    return fail(failed("stat", path));
  if (ntfs_ && entry.metadata.written_100ns != 0)
    return ItemIdentity{status.stx_ino, 0, entry.metadata.created_100ns};
  PosixHandle handle(std::move(item), {}, "", status.stx_ino, ntfs_);
  RS_TRY(auto times, handle.times());
  return ItemIdentity{status.stx_ino, 0, times.created_100ns};
}

// A link is an empty directory (junction) or file with reparse data; from then on ntfs-3g shows a symbolic
// link, so what follows goes by name.
Result<ItemIdentity> PosixVolume::stage_link(const std::string& path, const Entry& entry) {
  struct stat status {};
  if (!ntfs_) {
    if (::symlinkat(entry.link_target.empty() ? "." : entry.link_target.c_str(), root_.get(), path.c_str()) !=
            0 ||
        ::fstatat(root_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail(failed("make", path));
    return ItemIdentity{status.st_ino, 0, 0};
  }
  RS_TRY(auto data, link_data(entry, profile_root_));
  {
    auto empty = entry;
    empty.kind = entry.kind == EntryKind::junction ? EntryKind::directory : EntryKind::file;
    empty.size_bytes = 0;
    RS_TRY(auto item, make_item(path, empty));
    RS_CHECK(set_metadata(item, path, empty));
  }
  auto native = native_path(path);
  std::array<std::byte, 16> times;
  store_le<std::uint64_t>(times, 0, entry.metadata.created_100ns);
  store_le<std::uint64_t>(times, 8, entry.metadata.written_100ns);
  if (::lsetxattr(native.c_str(), "system.ntfs_reparse_data", data.data(), data.size(), 0) != 0 ||
      ::lsetxattr(native.c_str(), "system.ntfs_times", times.data(), times.size(), 0) != 0)
    return fail(failed("make the link", path));
  // The kernel first notices that a directory or file has become a link and answers EIO, then looks again.
  int result = ::fstatat(root_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW);
  if (result != 0 && errno == EIO)
    result = ::fstatat(root_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW);
  if (result != 0) return fail(failed("stat the link", path));
  return ItemIdentity{status.st_ino, 0, entry.metadata.created_100ns};
}

Result<void> PosixVolume::set_metadata(const FileDescriptor& item, const std::string& path,
                                       const Entry& entry) {
  if (ntfs_) {
    std::array<std::byte, 4> attributes;
    store_le<std::uint32_t>(attributes, 0, entry.metadata.attributes);
    bool as_made = entry.kind == EntryKind::file && entry.metadata.attributes == profile::kAttributeArchive;
    if (!as_made &&
        ::fsetxattr(item.get(), "system.ntfs_attrib", attributes.data(), attributes.size(), 0) != 0)
      return fail(failed("set the attributes of", path));
    auto& security = entry.metadata.security;
    if (!security.empty() &&
        ::fsetxattr(item.get(), "system.ntfs_acl", security.data(), security.size(), 0) != 0)
      return fail(failed("set the security of", path));
  }
  FileDescriptor same(::dup(item.get()));
  PosixHandle handle(std::move(same), {}, "", 0, ntfs_);
  if (entry.metadata.written_100ns == 0) return {};
  return handle.set_times({entry.metadata.created_100ns, entry.metadata.written_100ns});
}

Result<void> PosixVolume::publish(const std::string& staged, VolumeHandle& directory,
                                  const std::string& name) {
  return rename_without_replacing(root_.get(), staged, static_cast<PosixHandle&>(directory).descriptor(),
                                  name);
}

Result<void> PosixVolume::rename(const std::string& from, const std::string& to) {
  return rename_without_replacing(root_.get(), from, root_.get(), to);
}

namespace {
Result<bool> remove_below(const ProfileVolume::GoOn& go_on, int parent, const std::string& name, int depth) {
  if (!go_on()) return false;
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  if (errno != EISDIR && errno != EPERM) return fail(failed("remove", name));
  if (depth > 1000) return fail(ErrorCode::unsupported, name + " lies too deep to be removed");
  {
    FileDescriptor descriptor(
        ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!descriptor) return fail(failed("open", name));
    auto* directory = ::fdopendir(::dup(descriptor.get()));
    if (directory == nullptr) return fail(failed("list", name));
    std::unique_ptr<DIR, int (*)(DIR*)> guard(directory, ::closedir);
    std::vector<std::string> names;  // first all names: removing while reading may skip some
    while (auto* entry = ::readdir(directory))
      if (std::string child = entry->d_name; child != "." && child != "..") names.push_back(std::move(child));
    for (auto& child : names) {
      RS_TRY(const bool gone, remove_below(go_on, descriptor.get(), child, depth + 1));
      if (!gone) return false;
    }
  }
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) return fail(failed("remove", name));
  return true;
}
}  // namespace

Result<bool> PosixVolume::remove_tree_while(const GoOn& go_on, const std::string& path) {
  return remove_below(go_on, root_.get(), path, 0);
}

Result<void> PosixVolume::sync() {
  // syncfs writes what the kernel holds; ntfs-3g passes only fsync on to its device.
  if (::syncfs(root_.get()) != 0 || ::fsync(root_.get()) != 0) return fail(failed("sync", directory_));
  return {};
}

}  // namespace roamstead::agent
