// Storage and clock of a real process, made to fail from outside: a library that the process loads before the
// C library's (LD_PRELOAD) asks a page of shared memory before each operation on files below one directory.
// For programs as they are shipped; within a test FaultyFileSystem does the same with less machinery.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace roamstead::support {

// In shared memory. What is zero does nothing. Chances are in a million, of each operation.
struct StoragePlan {
  std::atomic<std::uint32_t> hangs;          // 1: operations wait until it is 0 again
  std::atomic<std::uint32_t> disk_full;      // writes that grow something: ENOSPC
  std::atomic<std::uint32_t> write_error;    // writes: EIO
  std::atomic<std::uint32_t> short_write;    // writes: a part only, and EIO at the next attempt
  std::atomic<std::uint32_t> sync_error;     // fsync and its like: EIO
  std::atomic<std::int64_t> clock_offset_s;  // of the wall clock
  // Of the process to those who watch it.
  std::atomic<std::uint32_t> hanging;  // threads that wait now
  std::atomic<std::uint64_t> faults;   // that were made
};

// Variables of the environment that the library reads.
inline constexpr const char* kStoragePlanVariable = "ROAMSTEAD_TEST_STORAGE_PLAN";            // a file
inline constexpr const char* kStorageDirectoryVariable = "ROAMSTEAD_TEST_STORAGE_DIRECTORY";  // absolute

class FaultyStorage {
 public:
  // `directory`: whose files fail. `plan_file` is made.
  FaultyStorage(std::string plan_file, std::string directory);
  ~FaultyStorage();
  FaultyStorage(const FaultyStorage&) = delete;
  FaultyStorage& operator=(const FaultyStorage&) = delete;

  StoragePlan& plan() { return *plan_; }
  void clear();  // no faults, nothing hangs; the clock stays
  // For a process that is to run on it; `library` is the preloaded library's file.
  std::map<std::string, std::string> environment(const std::string& library) const;

 private:
  const std::string plan_file_;
  const std::string directory_;
  StoragePlan* plan_ = nullptr;
};

}  // namespace roamstead::support
