#include "agent/fuse/profile_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "agent/core/registry_loader.h"
#include "agent/fuse/profile_mount_impl.h"
#include "common/base/log.h"

namespace roamstead::agent {

namespace {

// Programs that wait for the coordinator each hold a thread; the rest must still be served.
constexpr unsigned kMostThreads = 64;
constexpr unsigned kIdleThreads = 8;

void on_init(void*, fuse_conn_info* connection) {
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS);
  if ((connection->capable & FUSE_CAP_SPLICE_WRITE) != 0)
    connection->want |= FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
  connection->max_write = 1 << 20;
}

int unmount_path(const std::string& path) {
  if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return 0;
  if (errno != EPERM) return errno;
  // Not root: the helper may. Without -z it refuses a busy mount.
  auto child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    ::execlp("fusermount3", "fusermount3", "-u", "-q", path.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? 0 : EBUSY;
}

}  // namespace

void set_timeouts(fuse_entry_param& entry, bool fleeting) {
  // A stream goes with its file, which the kernel does not know.
  entry.entry_timeout = fleeting ? 0 : 60;
  entry.attr_timeout = attribute_timeout(fleeting);
}

double attribute_timeout(bool fleeting) { return fleeting ? 0 : 5; }

Result<void> ProfileMount::Impl::exclusively(const std::string& path,
                                             const std::function<Result<void>()>& work) {
  std::unique_lock lock(names_mutex);  // nobody opens it meanwhile
  struct stat status {};
  if (::fstatat(volume.root(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      nodes.is_open(status.st_ino))
    return fail(ErrorCode::busy, path + " is open in a program");
  return work();
}

std::string ProfileMount::Impl::stream_of(const std::string& name) const {
  auto colon = volume.is_ntfs() ? name.find(':') : std::string::npos;
  return colon == std::string::npos ? std::string() : name.substr(colon + 1);
}

int ProfileMount::Impl::open_node(NodeId node, std::unique_ptr<PosixHandle>& handle, bool for_writing) {
  if (int error = settle(node)) return error;
  std::shared_lock lock(names_mutex);
  auto path = nodes.path(node);
  auto key = nodes.key(node);
  if (!path || !key) return ESTALE;
  struct stat status {};
  if (::fstatat(volume.root(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  if (S_ISLNK(status.st_mode)) return ELOOP;
  bool directory = S_ISDIR(status.st_mode);
  // Files are opened for reading and writing whatever the program asked for: loading writes.
  FileDescriptor file(::openat(volume.root(), path->c_str(),
                               (directory || !for_writing ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return errno;
  FileDescriptor item;
  if (!key->stream.empty()) {
    auto base = path->substr(0, path->rfind(':'));
    item = FileDescriptor(::openat(volume.root(), base.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!item) return errno;
  }
  handle = std::make_unique<PosixHandle>(std::move(file), std::move(item), key->stream, key->record,
                                         volume.is_ntfs());
  return 0;
}

int ProfileMount::Impl::populate(NodeId directory) {
  if (int error = settle(directory)) return error;
  auto key = nodes.key(directory);
  if (!key) return ESTALE;
  if (loader.is_populated(key->record)) return 0;
  std::unique_ptr<PosixHandle> handle;
  if (int error = open_node(directory, handle)) return error;
  auto done = loader.populate(*handle);
  if (done) return 0;
  log_warning("{}", done.error().to_string());
  return errno_of(done.error());
}

int ProfileMount::Impl::stat_node(NodeId node, struct stat& status) {
  std::shared_lock lock(names_mutex);
  auto path = nodes.path(node);
  if (!path) return ESTALE;
  return ::fstatat(volume.root(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

void ProfileMount::Impl::note_change(NodeId node) {
  if (const auto folder = nodes.parent(node)) return note_change_in(*folder);
  tell_change();
}

void ProfileMount::Impl::note_change_in(NodeId folder) {
  if (const auto key = nodes.key(folder); key && !key->is_preview()) volume.note_changed(key->record);
  tell_change();
}

OpenFile& ProfileMount::Impl::add_file(NodeId node, std::unique_ptr<PosixHandle> handle) {
  nodes.opened(node);
  auto file = std::make_unique<OpenFile>();
  file->node = node;
  file->handle = std::move(handle);
  auto* pointer = file.get();
  std::lock_guard lock(handles_mutex_);
  files_[pointer] = std::move(file);
  return *pointer;
}

void ProfileMount::Impl::release_file(OpenFile& file) {
  auto node = file.node;
  {
    std::lock_guard lock(handles_mutex_);
    files_.erase(&file);
  }
  auto closed = nodes.closed(node);
  if (!closed.last_of_removed) return;
  auto removed = volume.remove_tree(closed.graveyard_path);
  if (!removed) log_warning("a removed file stays in staging: {}", removed.error().to_string());
  loader.forget(closed.record);
}

OpenDirectory& ProfileMount::Impl::add_directory(std::unique_ptr<OpenDirectory> directory) {
  auto* pointer = directory.get();
  std::lock_guard lock(handles_mutex_);
  directories_[pointer] = std::move(directory);
  return *pointer;
}

void ProfileMount::Impl::release_directory(OpenDirectory& directory) {
  std::lock_guard lock(handles_mutex_);
  directories_.erase(&directory);
}

void ProfileMount::Impl::release_all() {
  std::vector<OpenFile*> left;
  {
    std::lock_guard lock(handles_mutex_);
    for (auto& [pointer, file] : files_) left.push_back(pointer);
    directories_.clear();
  }
  for (auto* file : left) release_file(*file);
}

Result<std::unique_ptr<ProfileMount>> ProfileMount::mount(Loader& loader, PosixVolume& volume,
                                                          const std::string& profile_root,
                                                          const std::string& mount_point,
                                                          std::function<void()> note_change) {
  RS_TRY(auto root, volume.stat(profile_root));
  auto impl = std::make_unique<Impl>(loader, volume, profile_root, root.record, std::move(note_change));
  impl->mount_point = mount_point;
  if (::fstatat(volume.root(), profile_root.c_str(), &impl->root_status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(system_error(errno, "stat", profile_root));
  fuse_lowlevel_ops operations{};
  operations.init = on_init;
  add_name_requests(operations);
  add_file_requests(operations);
  add_attribute_requests(operations);
  std::vector<std::string> texts = {"roamstead", "-o", "fsname=roamstead,subtype=roamstead"};
  if (::geteuid() == 0) texts.back() += ",allow_other,default_permissions";
  std::vector<char*> pointers;
  for (auto& text : texts) pointers.push_back(text.data());
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  impl->session = fuse_session_new(&arguments, &operations, sizeof operations, impl.get());
  fuse_opt_free_args(&arguments);
  if (impl->session == nullptr) return fail(ErrorCode::internal, "FUSE refuses the options");
  if (fuse_session_mount(impl->session, mount_point.c_str()) != 0) {
    auto error = system_error(errno, "mount a FUSE file system at", mount_point);
    fuse_session_destroy(impl->session);
    return fail(std::move(error));
  }
  impl->mounted = true;
  if (auto* registry = loader.registry())
    registry->set_exclusively([impl = impl.get()](const std::string& path, const auto& work) {
      return impl->exclusively(path, work);
    });
  return std::unique_ptr<ProfileMount>(new ProfileMount(std::move(impl)));
}

ProfileMount::ProfileMount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

void ProfileMount::start() {
  impl_->thread = std::thread([impl = impl_.get()] {
    auto* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, kMostThreads);
    fuse_loop_cfg_set_idle_threads(config, kIdleThreads);
    fuse_session_loop_mt(impl->session, config);
    fuse_loop_cfg_destroy(config);
  });
}

Result<void> ProfileMount::unmount() {
  if (impl_->mounted) {
    // The kernel may still be closing files of programs that just ended.
    int error = EBUSY;
    for (int attempt = 0; attempt < 20 && error == EBUSY; ++attempt) {
      error = unmount_path(impl_->mount_point);
      if (error == EBUSY) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    if (error == EBUSY)
      return fail(ErrorCode::busy,
                  impl_->mount_point + " is in use: end the programs that have files open there");
    if (error != 0 && error != EINVAL) return fail(system_error(error, "unmount", impl_->mount_point));
    impl_->mounted = false;
  }
  if (impl_->thread.joinable()) {
    impl_->thread.join();
    fuse_session_unmount(impl_->session);  // already unmounted: frees what belonged to it
  }
  if (auto* registry = impl_->loader.registry()) registry->set_exclusively({});
  impl_->release_all();
  return {};
}

ProfileMount::~ProfileMount() {
  if (auto* registry = impl_->loader.registry()) registry->set_exclusively({});
  if (impl_->mounted) {
    fuse_session_exit(impl_->session);
    ::umount2(impl_->mount_point.c_str(), MNT_DETACH);
    fuse_session_unmount(impl_->session);
  }
  if (impl_->thread.joinable()) impl_->thread.join();
  impl_->release_all();
  fuse_session_destroy(impl_->session);
}

}  // namespace roamstead::agent
