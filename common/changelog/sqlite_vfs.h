// SQLite on top of os::FileSystem, so that the crash tests' file system can stand beneath it too.
//
// Only what a database in WAL mode with exclusive locking needs: no shared memory, no memory mapping. One
// process and one connection at a time: the main file is locked exclusively for as long as it is open
// (SQLITE_BUSY otherwise).
#pragma once

#include <string>

#include "common/os/file.h"

namespace roamstead::changelog {

// Registers a VFS under a name of its own for as long as the object lives; `files` must outlive it. Databases
// opened through it must be closed before it goes.
class SqliteVfs {
 public:
  explicit SqliteVfs(os::FileSystem& files);
  ~SqliteVfs();
  SqliteVfs(const SqliteVfs&) = delete;
  SqliteVfs& operator=(const SqliteVfs&) = delete;

  const std::string& name() const { return name_; }

 private:
  std::string name_;
  struct Registration;
  Registration* registration_;
};

}  // namespace roamstead::changelog
