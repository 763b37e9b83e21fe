// A file system in memory whose copies cost next to nothing: pages are shared until one of the copies writes
// them, and pages of zeros that nobody wrote are not there. For fuzzers, which start every input from the
// same files.
//
// Nothing is ever lost; crash_file_system.h is the one that loses power. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/os/file.h"

namespace roamstead::support {

class MemoryFileSystem final : public os::FileSystem {
 public:
  // As it is now. Files open in one are not open in the other.
  std::unique_ptr<MemoryFileSystem> clone() const;

  Result<std::unique_ptr<os::File>> open(const std::string& path, os::OpenMode mode) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> link(const std::string& from, const std::string& to) override;
  Result<bool> same_file(const std::string& a, const std::string& b) override;
  Result<void> remove(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list_directory(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override;
  Result<void> sync_directory(const std::string& path) override;

 private:
  friend class MemoryFile;
  struct Node {
    std::map<std::uint64_t, std::shared_ptr<const Bytes>> pages;  // by number
    std::uint64_t size = 0;
    bool exclusively_locked = false;
    int shared_locks = 0;
  };

  std::map<std::string, std::shared_ptr<Node>> names_;
  std::map<std::string, bool> directories_;
};

}  // namespace roamstead::support
