#include "coordinator/diskfs/disk_mount.h"

#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <fuse3/fuse_lowlevel.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <mutex>
#include <optional>
#include <thread>

#include "common/base/log.h"
#include "common/volume/partition.h"
#include "coordinator/diskfs/control_server.h"

namespace roamstead::diskfs {
namespace {

constexpr unsigned kMaxTransferBytes = 1u << 20;
constexpr auto kFlushInterval = std::chrono::seconds(5);
// Where a change may be one of the partition table.
constexpr std::uint64_t kTableBytes = 1u << 20;

// What a file shows; a copy is kept for each time it is opened.
struct View {
  bool whole_disk = false;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

int to_errno(const Error& error) {
  log_error("{}", error.to_string());
  switch (error.code) {
    case ErrorCode::full:
      return -ENOSPC;
    case ErrorCode::denied:
      return -EROFS;
    case ErrorCode::invalid_argument:
      return -EINVAL;
    default:
      return -EIO;
  }
}

class DiskFileSystem {
 public:
  DiskFileSystem(vdisk::Disk& disk, const MountOptions& options)
      : disk_(disk),
        read_only_(options.read_only),
        write_back_(options.write_back),
        mounted_(std::time(nullptr)) {}

  void use(struct fuse* fuse) { fuse_ = fuse; }

  int attributes(const std::string& path, struct stat* out) {
    *out = {};
    out->st_atime = out->st_mtime = out->st_ctime = mounted_;
    out->st_uid = ::getuid();
    out->st_gid = ::getgid();
    if (path == "/") {
      out->st_mode = S_IFDIR | 0700;
      out->st_nlink = 2;
      return 0;
    }
    auto view = find(path);
    if (!view) return -ENOENT;
    out->st_mode = S_IFREG | (read_only_ ? 0400 : 0600);
    out->st_nlink = 1;
    out->st_size = static_cast<off_t>(view->size);
    out->st_blocks = static_cast<blkcnt_t>(view->size / 512);
    out->st_blksize = 4096;
    return 0;
  }

  bool write_back() const { return write_back_; }

  // Makes the kernel write what it holds of the partitions in use: through the mount itself, so never from a
  // thread that serves it.
  Result<void> settle(const std::string& mount_point) {
    if (!write_back_ || open_partitions_ == 0) return {};
    std::vector<std::string> paths;
    {
      std::lock_guard guard(mutex_);
      for (const auto& partition : table_.partitions)
        paths.push_back(mount_point + "/" + file_name(partition));
    }
    for (const auto& path : paths) {
      auto descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (descriptor < 0) return fail(ErrorCode::io, path + ": cannot open it: " + std::strerror(errno));
      auto result = ::fsync(descriptor);
      auto number = errno;
      ::close(descriptor);
      if (result != 0) return fail(ErrorCode::io, path + ": cannot flush it: " + std::strerror(number));
    }
    return {};
  }

  std::vector<std::string> names() {
    std::lock_guard guard(mutex_);
    refresh();
    std::vector<std::string> names{"disk.raw"};
    for (const auto& partition : table_.partitions) names.push_back(file_name(partition));
    return names;
  }

  int open(const std::string& path, fuse_file_info* info) {
    auto view = find(path);
    if (!view) return -ENOENT;
    if (read_only_ && (info->flags & O_ACCMODE) != O_RDONLY) return -EROFS;
    // The kernel caches a partition's pages, anew for each opening; the whole disk goes past the cache, so
    // that it always shows what was written to a partition.
    info->direct_io = view->whole_disk;
    if (!view->whole_disk) ++open_partitions_;
    info->fh = reinterpret_cast<std::uint64_t>(new View(*view));
    return 0;
  }

  void release(fuse_file_info* info) {
    auto* view = reinterpret_cast<View*>(info->fh);
    if (!view->whole_disk) --open_partitions_;
    delete view;
  }

  int read(char* buffer, std::size_t size, off_t offset, const View& view) {
    auto at = static_cast<std::uint64_t>(offset);
    if (at >= view.size) return 0;
    size = std::min<std::uint64_t>(size, view.size - at);
    auto done = disk_.read(view.offset + at, {reinterpret_cast<std::byte*>(buffer), size});
    return done ? static_cast<int>(size) : to_errno(done.error());
  }

  int write(const char* buffer, std::size_t size, off_t offset, const View& view) {
    auto at = static_cast<std::uint64_t>(offset);
    if (at >= view.size) return -ENOSPC;  // as a block device says at its end
    size = std::min<std::uint64_t>(size, view.size - at);
    auto done = disk_.write(view.offset + at, {reinterpret_cast<const std::byte*>(buffer), size});
    if (!done) return to_errno(done.error());
    if (view.whole_disk) written_past_cache(at, size);
    return static_cast<int>(size);
  }

  int flush() {
    auto done = disk_.flush();
    return done ? 0 : to_errno(done.error());
  }

 private:
  static std::string file_name(const volume::Partition& partition) {
    return "p" + std::to_string(partition.number) + ".raw";
  }

  std::optional<View> find(const std::string& path) {
    if (path == "/disk.raw") return View{true, 0, disk_.size_bytes()};
    std::lock_guard guard(mutex_);
    refresh();
    for (const auto& partition : table_.partitions)
      if (path == "/" + file_name(partition))
        return View{false, partition.offset_bytes, partition.size_bytes};
    return std::nullopt;
  }

  // Under the mutex.
  void refresh() {
    if (!table_stale_.exchange(false)) return;
    auto table = volume::read_partition_table(disk_);
    if (!table) log_warning("{}", table.error().to_string());
    table_ = table ? std::move(*table) : volume::PartitionTable{};
  }

  void written_past_cache(std::uint64_t offset, std::size_t size) {
    if (offset < kTableBytes || offset + size + kTableBytes > disk_.size_bytes()) table_stale_ = true;
    if (open_partitions_ == 0) return;
    std::vector<std::string> paths;
    {
      std::lock_guard guard(mutex_);
      for (const auto& partition : table_.partitions) paths.push_back("/" + file_name(partition));
    }
    for (const auto& path : paths) fuse_invalidate_path(fuse_, path.c_str());  // -ENOENT: not in the cache
  }

  vdisk::Disk& disk_;
  bool read_only_;
  bool write_back_;
  std::time_t mounted_;
  struct fuse* fuse_ = nullptr;
  std::atomic<int> open_partitions_ = 0;
  std::atomic<bool> table_stale_ = true;
  std::mutex mutex_;
  volume::PartitionTable table_;
};

DiskFileSystem& self() { return *static_cast<DiskFileSystem*>(fuse_get_context()->private_data); }

void* on_init(fuse_conn_info* connection, fuse_config* config) {
  connection->max_write = kMaxTransferBytes;
  connection->max_readahead = kMaxTransferBytes;
  // Nobody but us changes what the kernel has cached, and we tell it: no need to ask for attributes before
  // each read.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA);
  if (self().write_back()) connection->want |= FUSE_CAP_WRITEBACK_CACHE;
  config->nullpath_ok = 0;
  return fuse_get_context()->private_data;
}

int on_readdir(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
               fuse_readdir_flags) {
  if (std::strcmp(path, "/") != 0) return -ENOENT;
  constexpr auto kNoFlags = static_cast<fuse_fill_dir_flags>(0);
  fill(buffer, ".", nullptr, 0, kNoFlags);
  fill(buffer, "..", nullptr, 0, kNoFlags);
  for (const auto& name : self().names()) fill(buffer, name.c_str(), nullptr, 0, kNoFlags);
  return 0;
}

// A disk has the size it has; tools that "truncate" to that size are right.
int on_truncate(const char* path, off_t size, fuse_file_info*) {
  struct stat status {};
  if (auto result = self().attributes(path, &status); result != 0) return result;
  return status.st_size == size ? 0 : -EPERM;
}

fuse_operations make_operations() {
  fuse_operations operations{};
  operations.init = on_init;
  operations.getattr = [](const char* path, struct stat* out, fuse_file_info*) {
    return self().attributes(path, out);
  };
  operations.readdir = on_readdir;
  operations.open = [](const char* path, fuse_file_info* info) { return self().open(path, info); };
  operations.release = [](const char*, fuse_file_info* info) {
    self().release(info);
    return 0;
  };
  operations.read = [](const char*, char* buffer, std::size_t size, off_t offset, fuse_file_info* info) {
    return self().read(buffer, size, offset, *reinterpret_cast<View*>(info->fh));
  };
  operations.write = [](const char*, const char* buffer, std::size_t size, off_t offset,
                        fuse_file_info* info) {
    return self().write(buffer, size, offset, *reinterpret_cast<View*>(info->fh));
  };
  operations.fsync = [](const char*, int, fuse_file_info*) { return self().flush(); };
  operations.truncate = on_truncate;
  operations.utimens = [](const char*, const timespec*, fuse_file_info*) { return 0; };
  return operations;
}

// Flushes now and then, so that a crash of the host costs seconds and not everything since the last fsync.
class PeriodicFlush {
 public:
  explicit PeriodicFlush(vdisk::Disk& disk) : thread_([this, &disk] { run(disk); }) {}
  ~PeriodicFlush() {
    {
      std::lock_guard guard(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

 private:
  void run(vdisk::Disk& disk) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kFlushInterval, [this] { return stop_; })) {
      lock.unlock();
      if (auto done = disk.flush(); !done) log_error("{}", done.error().to_string());
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

struct FuseDeleter {
  void operator()(struct fuse* fuse) const { fuse_destroy(fuse); }
};
using FuseHandle = std::unique_ptr<struct fuse, FuseDeleter>;

struct Unmount {  // of what fuse_mount has mounted
  struct fuse* fuse;
  ~Unmount() { fuse_unmount(fuse); }
};

Result<FuseHandle> new_fuse(const MountOptions& options, DiskFileSystem& file_system) {
  static const auto operations = make_operations();
  auto name = "fsname=" + options.disk_path + ",subtype=roamstead" + (options.read_only ? ",ro" : "");
  // A comma would end the option.
  std::replace(name.begin() + 7, name.begin() + 7 + static_cast<std::ptrdiff_t>(options.disk_path.size()),
               ',', '_');
  std::string program = "roamstead", option = "-o";
  char* arguments[] = {program.data(), option.data(), name.data(), nullptr};
  struct fuse_args args = FUSE_ARGS_INIT(3, arguments);
  FuseHandle fuse(fuse_new(&args, &operations, sizeof operations, &file_system));
  fuse_opt_free_args(&args);
  if (!fuse) return fail(ErrorCode::io, "cannot start FUSE");
  return fuse;
}

Result<void> serve(struct fuse* fuse, vdisk::Disk& disk, ControlServer* control) {
  auto* session = fuse_get_session(fuse);
  if (fuse_set_signal_handlers(session) != 0) return fail(ErrorCode::io, "cannot set signal handlers");
  Result<void> served;
  {
    PeriodicFlush periodic(disk);
    if (control != nullptr) RS_CHECK(control->start());
    fuse_loop_config config{};
    config.max_idle_threads = 4;
    auto result = fuse_loop_mt(fuse, &config);
    if (result < 0) served = fail(ErrorCode::io, std::string("FUSE: ") + std::strerror(-result));
  }
  fuse_remove_signal_handlers(session);
  return served;
}

}  // namespace

Result<void> mount_disk(const MountOptions& options) {
  auto access = options.read_only ? vdisk::Access::read : vdisk::Access::write;
  RS_TRY(auto disk, vdisk::Disk::open(os::real_file_system(), options.disk_path, access));
  DiskFileSystem file_system(*disk, options);
  std::unique_ptr<ControlServer> control;
  if (!options.control_path.empty()) {
    RS_TRY(control, ControlServer::listen(*disk, options.control_path,
                                          [&] { return file_system.settle(options.mount_point); }));
  }
  RS_TRY(auto fuse, new_fuse(options, file_system));
  file_system.use(fuse.get());
  if (fuse_mount(fuse.get(), options.mount_point.c_str()) != 0)
    return fail(ErrorCode::io,
                options.mount_point + ": cannot mount there (is /dev/fuse usable, is it an empty folder?)");
  Result<void> served;
  {
    Unmount unmount{fuse.get()};
    if (fuse_daemonize(options.foreground ? 1 : 0) != 0) return fail(ErrorCode::io, "cannot become a daemon");
    served = serve(fuse.get(), *disk, control.get());
  }
  control.reset();
  auto flushed = disk->flush();
  return served ? flushed : served;
}

}  // namespace roamstead::diskfs
