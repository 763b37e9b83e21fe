// SQLite's own files on storage that fails: a layer over SQLite's, the default one as long as this object
// lives, that asks a plan before each write, truncation and sync. One at a time, and only databases opened
// meanwhile.
#pragma once

#include <sqlite3.h>

#include <functional>
#include <mutex>
#include <new>

namespace roamstead::support {

class FaultySqlite {
 public:
  // SQLITE_OK lets it pass; else SQLITE_FULL, SQLITE_IOERR_WRITE … is what SQLite sees. Of a write that
  // fails, half reaches the file.
  using Plan = std::function<int()>;

  FaultySqlite() : below_(sqlite3_vfs_find(nullptr)), layer_(*below_) {
    layer_.zName = "roamstead-faulty";
    layer_.szOsFile = static_cast<int>(sizeof(File)) + below_->szOsFile;
    layer_.xOpen = &FaultySqlite::open;
    current() = this;
    sqlite3_vfs_register(&layer_, 1);
  }
  ~FaultySqlite() {
    sqlite3_vfs_unregister(&layer_);
    sqlite3_vfs_register(below_, 1);
    current() = nullptr;
  }
  FaultySqlite(const FaultySqlite&) = delete;
  FaultySqlite& operator=(const FaultySqlite&) = delete;

  void set_plan(Plan plan) {
    std::lock_guard lock(mutex_);
    plan_ = std::move(plan);
  }

 private:
  struct File {
    sqlite3_file base;
    sqlite3_file* below() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File* of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
  static sqlite3_file* below(sqlite3_file* file) { return of(file)->below(); }
  static const sqlite3_io_methods* methods(sqlite3_file* file) { return below(file)->pMethods; }
  static FaultySqlite*& current() {
    static FaultySqlite* instance = nullptr;
    return instance;
  }
  static int ask() {
    std::lock_guard lock(current()->mutex_);
    return current()->plan_ ? current()->plan_() : SQLITE_OK;
  }

  static int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    file->pMethods = nullptr;
    auto* layer = current()->below_;
    const int status = layer->xOpen(layer, name, below(file), flags, out_flags);
    if (below(file)->pMethods != nullptr) file->pMethods = &io_methods();
    return status;
  }
  static int write(sqlite3_file* file, const void* data, int count, sqlite3_int64 offset) {
    if (const int fault = ask(); fault != SQLITE_OK) {
      (void)methods(file)->xWrite(below(file), data, count / 2, offset);
      return fault;
    }
    return methods(file)->xWrite(below(file), data, count, offset);
  }
  static int truncate(sqlite3_file* file, sqlite3_int64 size) {
    const int fault = ask();
    return fault != SQLITE_OK ? fault : methods(file)->xTruncate(below(file), size);
  }
  static int sync(sqlite3_file* file, int flags) {
    const int fault = ask();
    return fault != SQLITE_OK ? fault : methods(file)->xSync(below(file), flags);
  }

  static const sqlite3_io_methods& io_methods() {
    static const sqlite3_io_methods table = [] {
      sqlite3_io_methods m{};
      m.iVersion = 3;
      m.xClose = [](sqlite3_file* f) { return methods(f)->xClose(below(f)); };
      m.xRead = [](sqlite3_file* f, void* out, int n, sqlite3_int64 at) {
        return methods(f)->xRead(below(f), out, n, at);
      };
      m.xWrite = &FaultySqlite::write;
      m.xTruncate = &FaultySqlite::truncate;
      m.xSync = &FaultySqlite::sync;
      m.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
        return methods(f)->xFileSize(below(f), size);
      };
      m.xLock = [](sqlite3_file* f, int kind) { return methods(f)->xLock(below(f), kind); };
      m.xUnlock = [](sqlite3_file* f, int kind) { return methods(f)->xUnlock(below(f), kind); };
      m.xCheckReservedLock = [](sqlite3_file* f, int* out) {
        return methods(f)->xCheckReservedLock(below(f), out);
      };
      m.xFileControl = [](sqlite3_file* f, int op, void* argument) {
        return methods(f)->xFileControl(below(f), op, argument);
      };
      m.xSectorSize = [](sqlite3_file* f) { return methods(f)->xSectorSize(below(f)); };
      m.xDeviceCharacteristics = [](sqlite3_file* f) { return methods(f)->xDeviceCharacteristics(below(f)); };
      m.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
        return methods(f)->xShmMap(below(f), page, size, extend, out);
      };
      m.xShmLock = [](sqlite3_file* f, int offset, int count, int flags) {
        return methods(f)->xShmLock(below(f), offset, count, flags);
      };
      m.xShmBarrier = [](sqlite3_file* f) { methods(f)->xShmBarrier(below(f)); };
      m.xShmUnmap = [](sqlite3_file* f, int remove) { return methods(f)->xShmUnmap(below(f), remove); };
      m.xFetch = [](sqlite3_file* f, sqlite3_int64 at, int n, void** out) {
        return methods(f)->xFetch(below(f), at, n, out);
      };
      m.xUnfetch = [](sqlite3_file* f, sqlite3_int64 at, void* page) {
        return methods(f)->xUnfetch(below(f), at, page);
      };
      return m;
    }();
    return table;
  }

  sqlite3_vfs* const below_;
  sqlite3_vfs layer_;
  std::mutex mutex_;
  Plan plan_;
};

}  // namespace roamstead::support
