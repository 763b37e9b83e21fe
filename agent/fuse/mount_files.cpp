// Requests about open files and directories.
#include <fcntl.h>

#include <cerrno>

#include "agent/fuse/profile_mount_impl.h"
#include "common/base/log.h"

namespace roamstead::agent {
namespace {

OpenFile& file_of(fuse_file_info* info) { return *reinterpret_cast<OpenFile*>(info->fh); }
OpenDirectory& directory_of(fuse_file_info* info) { return *reinterpret_cast<OpenDirectory*>(info->fh); }

int error_of(const Result<void>& result) {
  if (result) return 0;
  log_warning("{}", result.error().to_string());
  return errno_of(result.error());
}

void on_open(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) {
  auto& mount = impl_of(request);
  auto* shown = (info->flags & O_ACCMODE) == O_RDONLY ? mount.open_preview(node) : nullptr;
  std::unique_ptr<PosixHandle> handle;
  if (shown == nullptr) {
    if (int error = mount.open_node(node, handle)) {
      fuse_reply_err(request, error);
      return;
    }
  }
  auto& file = shown != nullptr ? *shown : mount.add_file(node, std::move(handle));
  info->keep_cache = 1;  // loading never changes what a program sees
  info->fh = reinterpret_cast<std::uint64_t>(&file);
  if (fuse_reply_open(request, info) != 0) mount.release_file(file);  // the program was interrupted
}

void on_create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  auto& mount = impl_of(request);
  fuse_entry_param entry{};
  std::unique_ptr<PosixHandle> handle;
  int error = mount.populate(parent);
  if (error == 0) {
    std::shared_lock lock(mount.names_mutex);
    auto path = mount.nodes.path(parent, name);
    Gate::Pass pass(mount.loader.gate());
    FileDescriptor made;
    bool refused = mount.loader.gate().refuses_programs();
    if (path && !refused)
      made = FileDescriptor(::openat(mount.volume.root(), path->c_str(),
                                     O_RDWR | O_CREAT | (info->flags & O_EXCL) | O_CLOEXEC, mode));
    error = !path ? ESTALE : refused ? EROFS : made ? 0 : errno;
  }
  if (error == 0) error = mount.reply_entry_for(parent, name, entry);
  if (error == 0) {
    error = mount.open_node(entry.ino, handle);
    if (error != 0) mount.nodes.forget(entry.ino, 1);
  }
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  mount.note_change_in(parent);
  auto& file = mount.add_file(entry.ino, std::move(handle));
  info->keep_cache = 1;
  info->fh = reinterpret_cast<std::uint64_t>(&file);
  if (fuse_reply_create(request, &entry, info) != 0) {
    mount.release_file(file);
    mount.nodes.forget(entry.ino, 1);
  }
}

void on_release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  impl_of(request).release_file(file_of(info));
  fuse_reply_err(request, 0);
}

void on_read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
  auto& mount = impl_of(request);
  auto& file = file_of(info);
  if (mount.is_shown(file)) {
    auto data = mount.loader.preview_read(file.base_path, file.size_bytes,
                                          {static_cast<std::uint64_t>(offset), size});
    if (data) {
      fuse_reply_buf(request, reinterpret_cast<const char*>(data->data()), data->size());
    } else {
      fuse_reply_err(request, error_of(fail(std::move(data).error())));
    }
    return;
  }
  PosixHandle* opened = nullptr;
  if (int error = mount.handle_of(file, opened)) {
    fuse_reply_err(request, error);
    return;
  }
  auto& handle = *opened;
  auto loaded = mount.loader.load(handle, {static_cast<std::uint64_t>(offset), size});
  if (!loaded) {
    fuse_reply_err(request, error_of(loaded));
    return;
  }
  fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);
  buffer.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
  buffer.buf[0].fd = handle.descriptor();
  buffer.buf[0].pos = offset;
  fuse_reply_data(request, &buffer, FUSE_BUF_SPLICE_MOVE);
}

void on_write(fuse_req_t request, fuse_ino_t node, const char* data, std::size_t size, off_t offset,
              fuse_file_info* info) {
  auto& mount = impl_of(request);
  PosixHandle* handle = nullptr;
  if (int error = mount.handle_of(file_of(info), handle)) {
    fuse_reply_err(request, error);
    return;
  }
  auto written = mount.loader.write(*handle, static_cast<std::uint64_t>(offset), as_bytes({data, size}));
  mount.note_change(node);
  if (written) {
    fuse_reply_write(request, size);
  } else {
    fuse_reply_err(request, error_of(written));
  }
}

void on_fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* info) {
  auto& mount = impl_of(request);
  auto& file = file_of(info);
  PosixHandle* handle = nullptr;
  int error = mount.is_shown(file) ? 0 : mount.handle_of(file, handle);
  if (handle != nullptr) error = error_of(mount.loader.sync(*handle));
  fuse_reply_err(request, error);
}

// Reserving space is left to the volume's growth; what programs rely on is the size.
void on_fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length,
                  fuse_file_info* info) {
  auto& mount = impl_of(request);
  if (mode != 0) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  PosixHandle* opened = nullptr;
  if (int error = mount.handle_of(file_of(info), opened)) {
    fuse_reply_err(request, error);
    return;
  }
  auto& handle = *opened;
  auto end = static_cast<std::uint64_t>(offset) + static_cast<std::uint64_t>(length);
  auto size = handle.size();
  Result<void> grown;
  if (!size) {
    grown = fail(size.error());
  } else if (*size < end) {
    grown = mount.loader.truncate(handle, end);
    mount.note_change(node);
  }
  fuse_reply_err(request, error_of(grown));
}

void on_opendir(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) {
  auto& mount = impl_of(request);
  auto directory = std::make_unique<OpenDirectory>();
  if (int error = mount.list(node, directory->entries)) {
    fuse_reply_err(request, error);
    return;
  }
  auto& kept = mount.add_directory(std::move(directory));
  info->fh = reinterpret_cast<std::uint64_t>(&kept);
  if (fuse_reply_open(request, info) != 0) mount.release_directory(kept);
}

void on_readdir(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
  auto& entries = directory_of(info).entries;
  std::vector<char> buffer(size);
  std::size_t used = 0;
  for (auto i = static_cast<std::size_t>(offset); i < entries.size(); ++i) {
    struct stat status {};
    status.st_ino = entries[i].record;
    status.st_mode = entries[i].type;
    auto need = fuse_add_direntry(request, buffer.data() + used, size - used, entries[i].name.c_str(),
                                  &status, static_cast<off_t>(i + 1));
    if (need > size - used) break;
    used += need;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void on_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  impl_of(request).release_directory(directory_of(info));
  fuse_reply_err(request, 0);
}

void on_fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  fuse_reply_err(request, error_of(impl_of(request).volume.sync()));
}

}  // namespace

void add_file_requests(fuse_lowlevel_ops& operations) {
  operations.open = on_open;
  operations.create = on_create;
  operations.release = on_release;
  operations.read = on_read;
  operations.write = on_write;
  operations.fsync = on_fsync;
  operations.fallocate = on_fallocate;
  operations.opendir = on_opendir;
  operations.readdir = on_readdir;
  operations.releasedir = on_releasedir;
  operations.fsyncdir = on_fsyncdir;
}

}  // namespace roamstead::agent
