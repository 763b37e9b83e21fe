// An os::FileSystem on a LibraryVolume. Paths are the volume's ("a/b", from its root).
//
// Weaker than the contract in one point: a rename that replaces is not atomic, as NTFS's log is not written;
// a crash in between leaves the new content under its old name. Files that are appended to, as the journal
// is, are not affected.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "common/ntfs3g/library_volume.h"
#include "common/os/file.h"

namespace roamstead::ntfs3g {

// Thread-safe. Locks are known to this object only: one for each volume.
class LibraryFileSystem final : public os::FileSystem {
 public:
  // The volume must outlive this and every file opened here.
  explicit LibraryFileSystem(LibraryVolume& volume) : volume_(volume), locks_(std::make_shared<Locks>()) {}

  Result<std::unique_ptr<os::File>> open(const std::string& path, os::OpenMode mode) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> link(const std::string& from, const std::string& to) override;
  Result<bool> same_file(const std::string& a, const std::string& b) override;
  Result<void> remove(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list_directory(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override;
  Result<void> sync_directory(const std::string& path) override;

  // By MFT record; shared with the open files, which give theirs back.
  struct Locks {
    std::mutex mutex;
    std::map<std::uint64_t, int> held;  // readers, or -1 for a writer
  };

 private:
  LibraryVolume& volume_;
  std::shared_ptr<Locks> locks_;
};

}  // namespace roamstead::ntfs3g
