// Requests about names: looking up, making, renaming, removing.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/fuse/profile_mount_impl.h"
#include "common/base/log.h"

namespace roamstead::agent {

int list_directory(int root, const std::string& path, std::vector<OpenDirectory::Entry>& entries) {
  FileDescriptor descriptor(::openat(root, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor) return errno;
  auto* directory = ::fdopendir(::dup(descriptor.get()));
  if (directory == nullptr) return errno;
  std::unique_ptr<DIR, int (*)(DIR*)> guard(directory, ::closedir);
  for (;;) {
    errno = 0;
    auto* entry = ::readdir(directory);
    if (entry == nullptr) return errno;
    entries.push_back({entry->d_name, entry->d_ino, DTTOIF(entry->d_type)});
  }
}

int ProfileMount::Impl::reply_entry_for(NodeId parent, const std::string& name, fuse_entry_param& entry) {
  std::shared_lock lock(names_mutex);
  auto path = nodes.path(parent, name);
  if (!path) return ESTALE;
  if (::fstatat(volume.root(), path->c_str(), &entry.attr, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  auto stream = stream_of(name);
  set_timeouts(entry, !stream.empty() || is_hive(*path));
  entry.ino = nodes.remember(parent, name, {entry.attr.st_ino, stream});
  entry.attr.st_ino = nodes.shown_record(entry.ino);
  return 0;
}

// names_mutex is held exclusively, and a pass. The file is open: it goes on in staging until it is closed.
int ProfileMount::Impl::bury(NodeId parent, const std::string& name, const std::string& path,
                             std::uint64_t record) {
  auto grave = loader.new_staging_path();
  if (::renameat(volume.root(), path.c_str(), volume.root(), grave.c_str()) != 0) return errno;
  nodes.buried(parent, name, record, grave);
  return 0;
}

int ProfileMount::Impl::remove_file(NodeId parent, const std::string& name) {
  std::unique_lock lock(names_mutex);
  Gate::Pass pass(loader.gate());
  if (loader.gate().refuses_programs()) return EROFS;
  auto path = nodes.path(parent, name);
  if (!path) return ESTALE;
  struct stat status {};
  if (::fstatat(volume.root(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  nodes.settle(parent, name, status.st_ino);
  bool whole = stream_of(name).empty() && status.st_nlink <= 1;
  if (whole && nodes.is_open(status.st_ino)) return bury(parent, name, *path, status.st_ino);
  if (::unlinkat(volume.root(), path->c_str(), 0) != 0) return errno;
  nodes.removed(parent, name);
  if (whole) loader.forget(status.st_ino);
  return 0;
}

int ProfileMount::Impl::rename(NodeId parent, const std::string& name, NodeId new_parent,
                               const std::string& new_name, unsigned flags) {
  if ((flags & ~unsigned{RENAME_NOREPLACE}) != 0) return EINVAL;
  std::unique_lock lock(names_mutex);
  Gate::Pass pass(loader.gate());
  if (loader.gate().refuses_programs()) return EROFS;
  auto from = nodes.path(parent, name), to = nodes.path(new_parent, new_name);
  if (!from || !to) return ESTALE;
  struct stat source {
  }, target{};
  if (::fstatat(volume.root(), from->c_str(), &source, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  bool replaces = ::fstatat(volume.root(), to->c_str(), &target, AT_SYMLINK_NOFOLLOW) == 0;
  if (!replaces && errno != ENOENT) return errno;
  if (!loader.may_rename(source.st_ino, S_ISDIR(source.st_mode), in_profile(*from), in_profile(*to)))
    return EXDEV;
  nodes.settle(parent, name, source.st_ino);
  if (replaces) nodes.settle(new_parent, new_name, target.st_ino);
  if (replaces && (flags & RENAME_NOREPLACE) != 0) return EEXIST;
  if (replaces && source.st_ino == target.st_ino && stream_of(name) == stream_of(new_name)) return 0;
  std::string grave;
  if (replaces && !S_ISDIR(target.st_mode)) {
    if (S_ISDIR(source.st_mode)) return ENOTDIR;
    if (target.st_nlink <= 1 && nodes.is_open(target.st_ino) && stream_of(new_name).empty()) {
      // ntfs-3g would keep a hidden file beside it, in the profile.
      grave = loader.new_staging_path();
      if (::renameat(volume.root(), to->c_str(), volume.root(), grave.c_str()) != 0) return errno;
    }
  }
  if (::renameat(volume.root(), from->c_str(), volume.root(), to->c_str()) != 0) {
    int error = errno;
    if (!grave.empty() && ::renameat(volume.root(), grave.c_str(), volume.root(), to->c_str()) != 0)
      log_error("{} stays in {}: {}", *to, grave, std::strerror(errno));
    return error;
  }
  if (!grave.empty()) nodes.buried(new_parent, new_name, target.st_ino, grave);
  if (replaces && !nodes.is_open(target.st_ino)) {
    nodes.removed(new_parent, new_name);
    if (target.st_nlink <= 1 || S_ISDIR(target.st_mode)) loader.forget(target.st_ino);
  }
  nodes.renamed(parent, name, new_parent, new_name);
  return 0;
}

// ntfs-3g cannot exchange: three renames, which no program and no snapshot sees half done.
int ProfileMount::Impl::exchange(NodeId parent, const std::string& name, NodeId new_parent,
                                 const std::string& new_name) {
  std::unique_lock lock(names_mutex);
  Gate::Pass pass(loader.gate());
  if (loader.gate().refuses_programs()) return EROFS;
  auto first = nodes.path(parent, name), second = nodes.path(new_parent, new_name);
  if (!first || !second) return ESTALE;
  auto between = loader.new_staging_path();
  auto move = [&](const std::string& from, const std::string& to) {
    return ::renameat(volume.root(), from.c_str(), volume.root(), to.c_str()) == 0 ? 0 : errno;
  };
  struct stat status {
  }, other{};
  if (::fstatat(volume.root(), second->c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      ::fstatat(volume.root(), first->c_str(), &other, AT_SYMLINK_NOFOLLOW) != 0)
    return errno;
  if (!loader.may_rename(other.st_ino, S_ISDIR(other.st_mode), in_profile(*first), in_profile(*second)) ||
      !loader.may_rename(status.st_ino, S_ISDIR(status.st_mode), in_profile(*second), in_profile(*first)))
    return EXDEV;
  nodes.settle(new_parent, new_name, status.st_ino);
  nodes.settle(parent, name, other.st_ino);
  if (int error = move(*first, between)) return error;
  if (int error = move(*second, *first)) {
    (void)move(between, *first);
    return error;
  }
  if (int error = move(between, *second)) {
    (void)move(*first, *second);
    (void)move(between, *first);
    return error;
  }
  nodes.exchanged(parent, name, new_parent, new_name);
  return 0;
}

namespace {

void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  auto& mount = impl_of(request);
  fuse_entry_param entry{};
  if (int error = mount.look_up(parent, name, entry)) {
    fuse_reply_err(request, error);
  } else if (fuse_reply_entry(request, &entry) != 0) {
    mount.nodes.forget(entry.ino, 1);
  }
}

void on_forget(fuse_req_t request, fuse_ino_t node, std::uint64_t references) {
  impl_of(request).nodes.forget(node, references);
  fuse_reply_none(request);
}

void on_forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  for (std::size_t i = 0; i < count; ++i) impl_of(request).nodes.forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

// Makes something new by `make(root, path)`, an errno.
template <class Make>
void make_new(fuse_req_t request, fuse_ino_t parent, const char* name, Make make) {
  auto& mount = impl_of(request);
  fuse_entry_param entry{};
  int error = mount.populate(parent);
  if (error == 0) {
    std::shared_lock lock(mount.names_mutex);
    Gate::Pass pass(mount.loader.gate());
    auto path = mount.nodes.path(parent, name);
    error = mount.loader.gate().refuses_programs() ? EROFS : path ? make(mount.volume.root(), *path) : ESTALE;
  }
  if (error == 0) {
    mount.note_change_in(parent);
    error = mount.reply_entry_for(parent, name, entry);
  }
  if (error != 0) {
    fuse_reply_err(request, error);
  } else if (fuse_reply_entry(request, &entry) != 0) {
    mount.nodes.forget(entry.ino, 1);
  }
}

void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  make_new(request, parent, name, [&](int root, const std::string& path) {
    return ::mkdirat(root, path.c_str(), mode) == 0 ? 0 : errno;
  });
}

void on_mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t) {
  if (!S_ISREG(mode)) {  // sockets and devices mean nothing on another desktop
    fuse_reply_err(request, EPERM);
    return;
  }
  make_new(request, parent, name, [&](int root, const std::string& path) {
    FileDescriptor made(::openat(root, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    return made ? 0 : errno;
  });
}

void on_symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  make_new(request, parent, name, [&](int root, const std::string& path) {
    return ::symlinkat(target, root, path.c_str()) == 0 ? 0 : errno;
  });
}

void on_link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  auto& nodes = impl_of(request).nodes;
  if (int error = impl_of(request).settle(node)) {
    fuse_reply_err(request, error);
    return;
  }
  make_new(request, parent, name, [&](int root, const std::string& path) {
    auto from = nodes.path(node);
    if (!from) return ESTALE;
    return ::linkat(root, from->c_str(), root, path.c_str(), 0) == 0 ? 0 : errno;
  });
}

void on_unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  auto& mount = impl_of(request);
  int error = mount.populate(parent);
  if (error == 0) {
    auto stream = mount.stream_of(name);
    struct stat status {};
    std::uint64_t record = 0;
    if (!stream.empty()) {
      std::shared_lock lock(mount.names_mutex);
      auto path = mount.nodes.path(parent, name);
      if (path && ::fstatat(mount.volume.root(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
        record = status.st_ino;
    }
    error = mount.remove_file(parent, name);
    if (error == 0 && record != 0)
      if (auto done = mount.loader.forget_stream(record, stream); !done) error = errno_of(done.error());
    mount.note_change_in(parent);
  }
  fuse_reply_err(request, error);
}

void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  auto& mount = impl_of(request);
  // A directory is only known to be empty once everything the version lists is there.
  fuse_entry_param entry{};
  int error = mount.populate(parent);
  if (error == 0) error = mount.reply_entry_for(parent, name, entry);
  if (error == 0) {
    error = mount.populate(entry.ino);
    if (error == 0) {
      std::unique_lock lock(mount.names_mutex);
      Gate::Pass pass(mount.loader.gate());
      auto path = mount.nodes.path(parent, name);
      error = mount.loader.gate().refuses_programs()                              ? EROFS
              : !path                                                             ? ESTALE
              : ::unlinkat(mount.volume.root(), path->c_str(), AT_REMOVEDIR) == 0 ? 0
                                                                                  : errno;
      if (error == 0) {
        auto key = mount.nodes.key(entry.ino);
        mount.nodes.removed(parent, name);
        if (key) mount.loader.forget(key->record);
      }
    }
    mount.nodes.forget(entry.ino, 1);
    mount.note_change_in(parent);
  }
  fuse_reply_err(request, error);
}

void on_rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  auto& mount = impl_of(request);
  int error = mount.populate(parent);
  if (error == 0) error = mount.populate(new_parent);
  fuse_entry_param target{};
  if (error == 0 && flags == 0 && mount.reply_entry_for(new_parent, new_name, target) == 0) {
    if (S_ISDIR(target.attr.st_mode))
      error = mount.populate(target.ino);  // may only be replaced if it is empty
    mount.nodes.forget(target.ino, 1);
  }
  if (error == 0 && flags == RENAME_EXCHANGE) {
    error = mount.exchange(parent, name, new_parent, new_name);
  } else if (error == 0) {
    error = mount.rename(parent, name, new_parent, new_name, flags);
  }
  mount.note_change_in(parent);
  mount.note_change_in(new_parent);
  fuse_reply_err(request, error);
}

}  // namespace

void add_name_requests(fuse_lowlevel_ops& operations) {
  operations.lookup = on_lookup;
  operations.forget = on_forget;
  operations.forget_multi = on_forget_multi;
  operations.mkdir = on_mkdir;
  operations.mknod = on_mknod;
  operations.symlink = on_symlink;
  operations.link = on_link;
  operations.unlink = on_unlink;
  operations.rmdir = on_rmdir;
  operations.rename = on_rename;
}

}  // namespace roamstead::agent
