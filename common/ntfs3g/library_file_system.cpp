#include "common/ntfs3g/library_file_system.h"

#include <algorithm>

namespace roamstead::ntfs3g {
namespace {

class LibraryFile final : public os::File {
 public:
  LibraryFile(LibraryVolume& volume, FileReference reference, std::string path, bool writable,
              std::shared_ptr<LibraryFileSystem::Locks> locks)
      : volume_(volume),
        reference_(reference),
        path_(std::move(path)),
        writable_(writable),
        locks_(std::move(locks)) {}
  ~LibraryFile() override { unlock(); }
  LibraryFile(const LibraryFile&) = delete;
  LibraryFile& operator=(const LibraryFile&) = delete;

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    RS_TRY_CTX(const auto count, path_, volume_.read(reference_, "", offset, out));
    return count;
  }
  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    RS_CHECK(check_writable());
    RS_CHECK_CTX(path_, volume_.write(reference_, "", offset, data));
    return {};
  }
  Result<std::uint64_t> size() const override {
    RS_TRY_CTX(const auto size, path_, volume_.size(reference_, ""));
    return size;
  }
  Result<void> truncate(std::uint64_t size_bytes) override {
    RS_CHECK(check_writable());
    RS_CHECK_CTX(path_, volume_.truncate(reference_, "", size_bytes));
    return {};
  }
  Result<void> sync() override { return volume_.sync(); }
  const std::string& path() const override { return path_; }

  Result<void> lock(bool exclusive) override {
    unlock();
    std::lock_guard guard(locks_->mutex);
    auto& held = locks_->held[reference_.record];
    if (held < 0 || (exclusive && held != 0))
      return fail(ErrorCode::busy, path_ + " is locked by another open file");
    held = exclusive ? -1 : held + 1;
    lock_ = exclusive ? -1 : 1;
    return {};
  }

 private:
  Result<void> check_writable() const {
    if (!writable_) return fail(ErrorCode::denied, path_ + ": opened for reading only");
    return {};
  }
  void unlock() {
    std::lock_guard guard(locks_->mutex);
    if (lock_ != 0 && (locks_->held[reference_.record] -= lock_) == 0) locks_->held.erase(reference_.record);
    lock_ = 0;
  }

  LibraryVolume& volume_;
  FileReference reference_;
  std::string path_;
  bool writable_;
  std::shared_ptr<LibraryFileSystem::Locks> locks_;
  int lock_ = 0;  // what this object adds to `held`
};

// os::parent_directory says "." for a bare name: here that is the root.
std::string directory_of(const std::string& path) {
  auto parent = os::parent_directory(path);
  return parent == "." ? "" : parent;
}

}  // namespace

Result<std::unique_ptr<os::File>> LibraryFileSystem::open(const std::string& path, os::OpenMode mode) {
  auto found = volume_.find(path);
  if (found && mode == os::OpenMode::create_new) return fail(ErrorCode::exists, path + " exists");
  const bool make = mode == os::OpenMode::create || mode == os::OpenMode::create_new;
  if (!found && make && found.error().code == ErrorCode::not_found) {
    RS_TRY(const auto directory, volume_.find(directory_of(path)));
    found = volume_.create(directory, os::base_name(path), ItemKind::file);
  }
  if (!found) return fail(std::move(found).error());
  RS_TRY(const auto info, volume_.stat(*found));
  if (info.directory) return fail(ErrorCode::invalid_argument, path + " is a directory");
  return std::unique_ptr<os::File>(
      new LibraryFile(volume_, info.reference, path, mode != os::OpenMode::read, locks_));
}

Result<void> LibraryFileSystem::rename(const std::string& from, const std::string& to) {
  RS_TRY(const auto from_directory, volume_.find(directory_of(from)));
  RS_TRY(const auto to_directory, volume_.find(directory_of(to)));
  RS_TRY(const auto item, volume_.find(from));
  auto target = volume_.find(to);
  if (target && *target == item) return {};
  if (target) RS_CHECK(volume_.remove(to_directory, os::base_name(to)));
  return volume_.rename(from_directory, os::base_name(from), to_directory, os::base_name(to));
}

Result<void> LibraryFileSystem::link(const std::string& from, const std::string& to) {
  RS_TRY(const auto item, volume_.find(from));
  RS_TRY(const auto directory, volume_.find(directory_of(to)));
  return volume_.link(item, directory, os::base_name(to));
}

Result<bool> LibraryFileSystem::same_file(const std::string& a, const std::string& b) {
  RS_TRY(const auto first, volume_.find(a));
  RS_TRY(const auto second, volume_.find(b));
  return first == second;
}

Result<void> LibraryFileSystem::remove(const std::string& path) {
  RS_TRY(const auto directory, volume_.find(directory_of(path)));
  return volume_.remove(directory, os::base_name(path));
}

Result<bool> LibraryFileSystem::exists(const std::string& path) {
  auto found = volume_.find(path);
  if (!found && found.error().code != ErrorCode::not_found) return fail(std::move(found).error());
  return found.has_value();
}

Result<std::vector<std::string>> LibraryFileSystem::list_directory(const std::string& path) {
  RS_TRY(const auto directory, volume_.find(path));
  RS_TRY(const auto items, volume_.list(directory));
  std::vector<std::string> names;
  for (auto& item : items) names.push_back(item.name);
  std::ranges::sort(names);
  return names;
}

Result<void> LibraryFileSystem::make_directories(const std::string& path) {
  RS_CHECK(volume_.make_directories(path));
  return {};
}

Result<void> LibraryFileSystem::sync_directory(const std::string&) { return volume_.sync(); }

}  // namespace roamstead::ntfs3g
