// Moves what SQLite's write-ahead log holds into the database file on a thread of its own: by itself SQLite
// does so within some commit, which then waits for two more flushes, and everybody behind it too.
#pragma once

#include <sqlite3.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace roamstead::repository {

class WalCheckpointer {
 public:
  struct Limits {
    int start_pages = 1000;  // from here on the thread is at work
    int most_pages = 16384;  // beyond it (64 MiB) the commit waits after all, so that the log stays bounded
  };

  // `database` is the only connection that writes, and outlives this. The thread has a connection of its own.
  WalCheckpointer(sqlite3* database, std::string path)
      : WalCheckpointer(database, std::move(path), Limits()) {}
  WalCheckpointer(sqlite3* database, std::string path, Limits limits);
  ~WalCheckpointer();
  WalCheckpointer(const WalCheckpointer&) = delete;
  WalCheckpointer& operator=(const WalCheckpointer&) = delete;

 private:
  static int committed(void* self, sqlite3* database, const char* name, int pages);
  void work();

  sqlite3* const database_;
  const std::string path_;
  const Limits limits_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  bool stopping_ = false;
  std::thread thread_;  // once there is something to do
};

}  // namespace roamstead::repository
