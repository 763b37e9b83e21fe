#include "coordinator/repository/wal_checkpointer.h"

#include <system_error>

#include "common/base/event.h"

namespace roamstead::repository {

WalCheckpointer::WalCheckpointer(sqlite3* database, std::string path, Limits limits)
    : database_(database), path_(std::move(path)), limits_(limits) {
  sqlite3_wal_hook(database_, &WalCheckpointer::committed, this);  // in place of SQLite's own
}

WalCheckpointer::~WalCheckpointer() {
  sqlite3_wal_hook(database_, nullptr, nullptr);
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// On the thread that has committed, which lets go of the log's lock afterwards.
int WalCheckpointer::committed(void* self, sqlite3* database, const char* name, int pages) {
  auto& checkpointer = *static_cast<WalCheckpointer*>(self);
  if (pages < checkpointer.limits_.start_pages) return SQLITE_OK;
  // Whatever comes of it: the commit is in the log, and the next one asks again.
  if (pages >= checkpointer.limits_.most_pages)
    (void)sqlite3_wal_checkpoint_v2(database, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  std::lock_guard lock(checkpointer.mutex_);
  checkpointer.wanted_ = true;
  if (!checkpointer.thread_.joinable() && !checkpointer.stopping_) {
    try {  // SQLite, whose function calls this one, is not to see an exception
      checkpointer.thread_ = std::thread([&checkpointer] { checkpointer.work(); });
    } catch (const std::system_error&) {
      return SQLITE_OK;  // no more threads now: the next commit tries again
    }
  }
  checkpointer.changed_.notify_all();
  return SQLITE_OK;
}

void WalCheckpointer::work() {
  // While commits go on there is always something left behind; once what is left is copied between two
  // commits, the log begins anew.
  constexpr int kPasses = 4;
  sqlite3* own = nullptr;
  int status = sqlite3_open_v2(path_.c_str(), &own, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  // A connection that has read nothing yet knows of no log, and copies nothing.
  if (status == SQLITE_OK)
    status = sqlite3_exec(own, "SELECT 1 FROM sqlite_schema LIMIT 1", nullptr, nullptr, nullptr);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait(lock, [&] { return wanted_ || stopping_; });
    if (stopping_) break;
    wanted_ = false;
    lock.unlock();
    for (int pass = 0; status == SQLITE_OK && pass < kPasses; ++pass) {
      int in_log = 0, copied = 0;
      status = sqlite3_wal_checkpoint_v2(own, nullptr, SQLITE_CHECKPOINT_PASSIVE, &in_log, &copied);
      if (copied >= in_log) break;
    }
    // Somebody else's checkpoint is as good; what else fails the commits themselves tell of, at the latest
    // when the log has grown to its limit.
    if (status == SQLITE_BUSY) status = SQLITE_OK;
    if (status != SQLITE_OK)
      log_event(Event::database_log_left, "{}: its log is left to commits: {}", path_,
                sqlite3_errstr(status));
    lock.lock();
    if (status != SQLITE_OK) break;
  }
  lock.unlock();
  sqlite3_close(own);
}

}  // namespace roamstead::repository
