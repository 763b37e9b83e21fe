// Requests about attributes, extended attributes and the file system as a whole.
#include <fcntl.h>
#include <limits.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/fuse/profile_mount_impl.h"
#include "common/base/file_time.h"
#include "common/base/log.h"

namespace roamstead::agent {
namespace {

void reply_attributes(fuse_req_t request, fuse_ino_t node) {
  auto& mount = impl_of(request);
  struct stat status {};
  if (!mount.is_real(node)) {
    profile::ProfilePath base;
    profile::Entry entry;
    int error = mount.preview_entry(node, base, entry);
    if (error == 0) {
      mount.preview_status(node, entry, status);
      fuse_reply_attr(request, &status, attribute_timeout(false));
      return;
    }
    if (error != EAGAIN) {
      fuse_reply_err(request, error);
      return;
    }
    (void)mount.is_real(node);  // it came to the volume meanwhile
  }
  int error = mount.stat_node(node, status);
  status.st_ino = mount.nodes.shown_record(node);
  auto key = mount.nodes.key(node);
  if (error != 0) {
    fuse_reply_err(request, error);
  } else {
    auto path = mount.nodes.path(node);
    bool fleeting = (key && !key->stream.empty()) || (path && mount.is_hive(*path));
    fuse_reply_attr(request, &status, attribute_timeout(fleeting));
  }
}

void on_getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  // Never by the handle: the kernel passes one for open directories too.
  reply_attributes(request, node);
}

// The write time; access times do not roam and are left alone.
Result<void> set_write_time(ProfileMount::Impl& mount, VolumeHandle& handle, const struct stat& wanted,
                            int mask) {
  if ((mask & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) == 0) return {};
  auto since = wanted.st_mtim.tv_sec * 10'000'000 + wanted.st_mtim.tv_nsec / 100;
  auto time = (mask & FUSE_SET_ATTR_MTIME_NOW) != 0 ? now_100ns()
                                                    : static_cast<std::uint64_t>(since) + kUnixEpoch_100ns;
  return mount.loader.change_metadata(handle, [&]() -> Result<void> {
    RS_TRY(auto times, handle.times());
    times.written_100ns = time;
    return handle.set_times(times);
  });
}

int change_owner_or_mode(ProfileMount::Impl& mount, fuse_ino_t node, const struct stat& wanted, int mask) {
  if (int error = mount.settle(node)) return error;
  std::shared_lock lock(mount.names_mutex);
  Gate::Pass pass(mount.loader.gate());
  if (mount.loader.gate().refuses_programs()) return EROFS;
  auto path = mount.nodes.path(node);
  if (!path) return ESTALE;
  if ((mask & FUSE_SET_ATTR_MODE) != 0 &&
      ::fchmodat(mount.volume.root(), path->c_str(), wanted.st_mode & 07777, 0) != 0)
    return errno;
  if ((mask & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) == 0) return 0;
  auto user = (mask & FUSE_SET_ATTR_UID) != 0 ? wanted.st_uid : static_cast<uid_t>(-1);
  auto group = (mask & FUSE_SET_ATTR_GID) != 0 ? wanted.st_gid : static_cast<gid_t>(-1);
  return ::fchownat(mount.volume.root(), path->c_str(), user, group, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

void on_setattr(fuse_req_t request, fuse_ino_t node, struct stat* wanted, int mask, fuse_file_info* info) {
  auto& mount = impl_of(request);
  int error = 0;
  if ((mask & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0)
    error = change_owner_or_mode(mount, node, *wanted, mask);
  if (error == 0 && (mask & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
    std::unique_ptr<PosixHandle> opened;
    PosixHandle* used = nullptr;
    if (info != nullptr) {
      error = mount.handle_of(*reinterpret_cast<OpenFile*>(info->fh), used);
    } else {
      error = mount.open_node(node, opened);
      used = opened.get();
    }
    if (error == 0) {
      auto& handle = *used;
      Result<void> done;
      if ((mask & FUSE_SET_ATTR_SIZE) != 0)
        done = mount.loader.truncate(handle, static_cast<std::uint64_t>(wanted->st_size));
      if (done) done = set_write_time(mount, handle, *wanted, mask);
      if (!done) {
        log_warning("{}", done.error().to_string());
        error = errno_of(done.error());
      }
    }
  }
  mount.note_change(node);
  if (error != 0) {
    fuse_reply_err(request, error);
  } else {
    reply_attributes(request, node);
  }
}

void on_readlink(fuse_req_t request, fuse_ino_t node) {
  auto& mount = impl_of(request);
  char target[PATH_MAX + 1];
  ssize_t length = -1;
  {
    std::shared_lock lock(mount.names_mutex);
    auto path = mount.nodes.path(node);
    errno = ESTALE;
    auto key = mount.nodes.key(node);
    auto below = key ? mount.loader.link_target(key->record) : std::nullopt;
    if (path && below) {
      // The volume would show a path on the volume; programs see the profile's root where it is mounted.
      auto depth = std::count(path->begin(), path->end(), '/') -
                   std::count(mount.root.begin(), mount.root.end(), '/') - 1;
      std::string text;
      for (; depth > 0; --depth) text += "../";
      text += *below;
      if (text.empty()) text = ".";
      errno = ENAMETOOLONG;
      if (text.size() <= PATH_MAX) length = static_cast<ssize_t>(text.copy(target, PATH_MAX));
    } else if (path) {
      length = ::readlinkat(mount.volume.root(), path->c_str(), target, PATH_MAX);
    }
  }
  if (length < 0) {
    fuse_reply_err(request, errno);
    return;
  }
  target[length] = '\0';
  fuse_reply_readlink(request, target);
}

void on_statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs status {};
  if (::fstatvfs(impl_of(request).volume.root(), &status) != 0) {
    fuse_reply_err(request, errno);
  } else {
    fuse_reply_statfs(request, &status);
  }
}

// What the volume offers. The kernel asks for security.capability at every write: that is answered here.
bool passes_through(const char* name) {
  for (auto* prefix : {"system.ntfs_", "ntfs.", "user."})
    if (std::strncmp(name, prefix, std::strlen(prefix)) == 0) return true;
  return false;
}

void on_getxattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t size) {
  auto& mount = impl_of(request);
  if (!passes_through(name)) {
    fuse_reply_err(request, ENODATA);
    return;
  }
  if (int error = mount.settle(node)) {
    fuse_reply_err(request, error);
    return;
  }
  std::vector<char> value(size);
  ssize_t length = -1;
  {
    std::shared_lock lock(mount.names_mutex);
    auto path = mount.nodes.path(node);
    errno = ESTALE;
    if (path) length = ::lgetxattr(mount.volume.native_path(*path).c_str(), name, value.data(), size);
  }
  if (length < 0) {
    fuse_reply_err(request, errno);
  } else if (size == 0) {
    fuse_reply_xattr(request, static_cast<std::size_t>(length));
  } else {
    fuse_reply_buf(request, value.data(), static_cast<std::size_t>(length));
  }
}

void on_listxattr(fuse_req_t request, fuse_ino_t node, std::size_t size) {
  auto& mount = impl_of(request);
  if (int error = mount.settle(node)) {
    fuse_reply_err(request, error);
    return;
  }
  std::vector<char> names(size);
  ssize_t length = -1;
  {
    std::shared_lock lock(mount.names_mutex);
    auto path = mount.nodes.path(node);
    errno = ESTALE;
    if (path) length = ::llistxattr(mount.volume.native_path(*path).c_str(), names.data(), size);
  }
  if (length < 0) {
    fuse_reply_err(request, errno);
  } else if (size == 0) {
    fuse_reply_xattr(request, static_cast<std::size_t>(length));
  } else {
    fuse_reply_buf(request, names.data(), static_cast<std::size_t>(length));
  }
}

// The creation time that ntfs-3g will set by this attribute: the first of up to four times, or the only one.
std::optional<std::uint64_t> creation_time_in(std::string_view name, ByteView value) {
  if (value.size() < 8) return std::nullopt;
  if (name == "system.ntfs_times" || name == "system.ntfs_crtime") return load_le<std::uint64_t>(value);
  if (name == "system.ntfs_times_be" || name == "system.ntfs_crtime_be") return load_be<std::uint64_t>(value);
  return std::nullopt;
}

// Runs `change(native path)` as a program's change of metadata.
template <class Change>
void change_xattr(fuse_req_t request, fuse_ino_t node, const char* name, ByteView value, Change change) {
  auto& mount = impl_of(request);
  if (!passes_through(name)) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  std::unique_ptr<PosixHandle> handle;
  int error = mount.open_node(node, handle, false);
  if (error == 0) {
    std::shared_lock lock(mount.names_mutex);
    auto path = mount.nodes.path(node);
    if (!path) error = ESTALE;
    if (path) {
      auto attempt = [&]() -> Result<void> {
        error = change(mount.volume.native_path(*path)) == 0 ? 0 : errno;
        return {};
      };
      auto done = mount.loader.change_metadata(*handle, attempt, creation_time_in(name, value));
      if (!done && error == 0) error = errno_of(done.error());
    }
  }
  mount.note_change(node);
  fuse_reply_err(request, error);
}

void on_setxattr(fuse_req_t request, fuse_ino_t node, const char* name, const char* value, std::size_t size,
                 int flags) {
  change_xattr(request, node, name, as_bytes({value, size}),
               [&](const std::string& path) { return ::lsetxattr(path.c_str(), name, value, size, flags); });
}

void on_removexattr(fuse_req_t request, fuse_ino_t node, const char* name) {
  change_xattr(request, node, name, {},
               [&](const std::string& path) { return ::lremovexattr(path.c_str(), name); });
}

}  // namespace

void add_attribute_requests(fuse_lowlevel_ops& operations) {
  operations.getattr = on_getattr;
  operations.setattr = on_setattr;
  operations.readlink = on_readlink;
  operations.statfs = on_statfs;
  operations.getxattr = on_getxattr;
  operations.listxattr = on_listxattr;
  operations.setxattr = on_setxattr;
  operations.removexattr = on_removexattr;
}

}  // namespace roamstead::agent
