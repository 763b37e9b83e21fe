#include "common/changelog/sqlite_vfs.h"

#include <sqlite3.h>

#include <atomic>
#include <new>

#include "common/base/guid.h"

namespace roamstead::changelog {
namespace {

constexpr int kMaxPath = 4096;

// What SQLite allocates for us; `methods` first, as SQLite demands.
struct OpenFile {
  sqlite3_file base;
  os::File* file;
  os::FileSystem* files;
  bool delete_on_close;
  bool sync_directory;  // freshly made: its name must become durable with the first sync
};

OpenFile* as_open(sqlite3_file* file) { return reinterpret_cast<OpenFile*>(file); }

int close_file(sqlite3_file* file) {
  auto* open = as_open(file);
  std::string path = open->file->path();
  delete open->file;
  open->file = nullptr;
  if (open->delete_on_close) (void)open->files->remove(path);
  return SQLITE_OK;
}

int read_file_at(sqlite3_file* file, void* buffer, int amount, sqlite3_int64 offset) {
  MutableByteView out(static_cast<std::byte*>(buffer), static_cast<std::size_t>(amount));
  auto got = as_open(file)->file->read_at(static_cast<std::uint64_t>(offset), out);
  if (!got) return SQLITE_IOERR_READ;
  if (*got == out.size()) return SQLITE_OK;
  std::memset(out.data() + *got, 0, out.size() - *got);  // SQLite relies on the zeros
  return SQLITE_IOERR_SHORT_READ;
}

int write_file_at(sqlite3_file* file, const void* buffer, int amount, sqlite3_int64 offset) {
  ByteView data(static_cast<const std::byte*>(buffer), static_cast<std::size_t>(amount));
  auto done = as_open(file)->file->write_at(static_cast<std::uint64_t>(offset), data);
  if (done) return SQLITE_OK;
  return done.error().code == ErrorCode::full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  return as_open(file)->file->truncate(static_cast<std::uint64_t>(size)) ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

int sync_file(sqlite3_file* file, int) {
  auto* open = as_open(file);
  if (!open->file->sync()) return SQLITE_IOERR_FSYNC;
  if (open->sync_directory) {
    if (!open->files->sync_directory(os::parent_directory(open->file->path()))) return SQLITE_IOERR_DIR_FSYNC;
    open->sync_directory = false;
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  auto bytes = as_open(file)->file->size();
  if (!bytes) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(*bytes);
  return SQLITE_OK;
}

// The exclusive lock is taken at open and held: nothing to do per transaction.
int lock_nothing(sqlite3_file*, int) { return SQLITE_OK; }
int nobody_else_locks(sqlite3_file*, int* result) {
  *result = 0;
  return SQLITE_OK;
}
int no_file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return 4096; }
int device_characteristics(sqlite3_file*) { return 0; }  // promise nothing

const sqlite3_io_methods kMethods = {1,
                                     close_file,
                                     read_file_at,
                                     write_file_at,
                                     truncate_file,
                                     sync_file,
                                     file_size,
                                     lock_nothing,
                                     lock_nothing,
                                     nobody_else_locks,
                                     no_file_control,
                                     sector_size,
                                     device_characteristics,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr};

os::FileSystem& files_of(sqlite3_vfs* vfs) { return *static_cast<os::FileSystem*>(vfs->pAppData); }

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* open = as_open(file);
  open->base.pMethods = nullptr;
  if (name == nullptr) return SQLITE_CANTOPEN;  // temporary files are kept in memory (temp_store)
  auto& files = files_of(vfs);
  auto existed = files.exists(name);
  if (!existed) return SQLITE_CANTOPEN;
  bool create = (flags & SQLITE_OPEN_CREATE) != 0;
  auto opened = files.open(name, create ? os::OpenMode::create : os::OpenMode::read_write);
  if (!opened) return SQLITE_CANTOPEN;
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0 && !(*opened)->lock(true)) return SQLITE_BUSY;
  open->file = opened->release();  // owned by the SQLite handle until close_file
  open->files = &files;
  open->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  open->sync_directory = !*existed;
  open->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* vfs, const char* name, int sync_directory) {
  auto& files = files_of(vfs);
  auto removed = files.remove(name);
  if (!removed)
    return removed.error().code == ErrorCode::not_found ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
  if (sync_directory != 0 && !files.sync_directory(os::parent_directory(name))) return SQLITE_IOERR_DIR_FSYNC;
  return SQLITE_OK;
}

int access_file(sqlite3_vfs* vfs, const char* name, int, int* result) {
  auto there = files_of(vfs).exists(name);
  if (!there) return SQLITE_IOERR_ACCESS;
  *result = *there ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  if (std::strlen(name) >= static_cast<std::size_t>(size)) return SQLITE_CANTOPEN;
  std::memcpy(out, name, std::strlen(name) + 1);
  return SQLITE_OK;
}

int random_bytes(sqlite3_vfs*, int size, char* out) {
  fill_random({reinterpret_cast<std::byte*>(out), static_cast<std::size_t>(size)});
  return size;
}

// The rest comes from the system's own VFS.
sqlite3_vfs* system_vfs() { return sqlite3_vfs_find(nullptr); }
int sleep_microseconds(sqlite3_vfs*, int microseconds) {
  return system_vfs()->xSleep(system_vfs(), microseconds);
}
int current_time(sqlite3_vfs*, double* now) { return system_vfs()->xCurrentTime(system_vfs(), now); }
int last_error(sqlite3_vfs*, int, char*) { return 0; }

}  // namespace

struct SqliteVfs::Registration {
  sqlite3_vfs vfs{};
};

SqliteVfs::SqliteVfs(os::FileSystem& files) : registration_(new Registration) {
  static std::atomic<unsigned> counter{0};
  name_ = "roamstead-" + std::to_string(++counter);
  auto& vfs = registration_->vfs;
  vfs.iVersion = 1;
  vfs.szOsFile = sizeof(OpenFile);
  vfs.mxPathname = kMaxPath;
  vfs.zName = name_.c_str();
  vfs.pAppData = &files;
  vfs.xOpen = open_file;
  vfs.xDelete = delete_file;
  vfs.xAccess = access_file;
  vfs.xFullPathname = full_path;
  vfs.xRandomness = random_bytes;
  vfs.xSleep = sleep_microseconds;
  vfs.xCurrentTime = current_time;
  vfs.xGetLastError = last_error;
  if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) throw std::bad_alloc();
}

SqliteVfs::~SqliteVfs() {
  sqlite3_vfs_unregister(&registration_->vfs);
  delete registration_;
}

}  // namespace roamstead::changelog
