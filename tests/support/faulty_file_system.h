// A file layer between the program and another one (real, or one that loses power): each operation that
// changes something asks a plan first. The plan may let it pass, make it fail (disk full, EIO), let a part of
// a write reach the file first (short writes), or keep the caller waiting, as storage does that hangs.
#pragma once

#include <functional>
#include <mutex>
#include <optional>

#include "common/os/file.h"

namespace roamstead::support {

enum class FileOperation { create, write, truncate, allocate, sync, rename, link, remove, sync_directory };

struct FileFault {
  ErrorCode code = ErrorCode::io;
  std::size_t written = 0;  // of a write: so many bytes reach the file all the same
  bool done = false;        // it fails for the caller alone: the file layer did it
};

// Thread-safe. The layer below must outlive it.
class FaultyFileSystem final : public os::FileSystem {
 public:
  // Called without locks, by many threads at once.
  using Plan =
      std::function<std::optional<FileFault>(FileOperation, const std::string& path, std::size_t bytes)>;

  explicit FaultyFileSystem(os::FileSystem& below) : below_(below) {}

  void set_plan(Plan plan) {
    std::lock_guard lock(mutex_);
    plan_ = std::make_shared<const Plan>(std::move(plan));
  }

  Result<std::unique_ptr<os::File>> open(const std::string& path, os::OpenMode mode) override {
    if (mode == os::OpenMode::create || mode == os::OpenMode::create_new)
      RS_CHECK(ask(FileOperation::create, path, 0, [] { return Result<void>(); }));
    RS_TRY(auto file, below_.open(path, mode));
    return std::unique_ptr<os::File>(std::make_unique<FaultyFile>(*this, std::move(file)));
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return ask(FileOperation::rename, to, 0, [&] { return below_.rename(from, to); });
  }
  Result<void> link(const std::string& from, const std::string& to) override {
    return ask(FileOperation::link, to, 0, [&] { return below_.link(from, to); });
  }
  Result<bool> same_file(const std::string& a, const std::string& b) override {
    return below_.same_file(a, b);
  }
  Result<void> remove(const std::string& path) override {
    return ask(FileOperation::remove, path, 0, [&] { return below_.remove(path); });
  }
  Result<bool> exists(const std::string& path) override { return below_.exists(path); }
  Result<std::int64_t> modified_seconds(const std::string& path) override {
    return below_.modified_seconds(path);
  }
  Result<std::vector<std::string>> list_directory(const std::string& path) override {
    return below_.list_directory(path);
  }
  Result<void> make_directories(const std::string& path) override {
    return ask(FileOperation::create, path, 0, [&] { return below_.make_directories(path); });
  }
  Result<void> sync_directory(const std::string& path) override {
    return ask(FileOperation::sync_directory, path, 0, [&] { return below_.sync_directory(path); });
  }

 private:
  class FaultyFile final : public os::File {
   public:
    FaultyFile(FaultyFileSystem& system, std::unique_ptr<os::File> file)
        : system_(system), file_(std::move(file)) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
      return file_->read_at(offset, out);
    }
    Result<void> write_at(std::uint64_t offset, ByteView data) override {
      const auto write = [&] { return file_->write_at(offset, data); };
      return system_.ask(FileOperation::write, path(), data.size(), write, [&](std::size_t count) {
        return file_->write_at(offset, data.first(std::min(count, data.size())));
      });
    }
    Result<std::uint64_t> size() const override { return file_->size(); }
    Result<void> truncate(std::uint64_t size_bytes) override {
      return system_.ask(FileOperation::truncate, path(), 0, [&] { return file_->truncate(size_bytes); });
    }
    Result<void> allocate(std::uint64_t size_bytes) override {
      return system_.ask(FileOperation::allocate, path(), 0, [&] { return file_->allocate(size_bytes); });
    }
    Result<void> sync() override {
      return system_.ask(FileOperation::sync, path(), 0, [&] { return file_->sync(); });
    }
    Result<void> lock(bool exclusive) override { return file_->lock(exclusive); }
    const std::string& path() const override { return file_->path(); }

   private:
    FaultyFileSystem& system_;
    std::unique_ptr<os::File> file_;
  };

  Result<void> ask(FileOperation operation, const std::string& path, std::size_t bytes,
                   const std::function<Result<void>()>& work,
                   const std::function<Result<void>(std::size_t)>& part = {}) {
    std::shared_ptr<const Plan> plan;
    {
      std::lock_guard lock(mutex_);
      plan = plan_;
    }
    const auto fault = plan != nullptr && *plan ? (*plan)(operation, path, bytes) : std::nullopt;
    if (!fault) return work();
    if (fault->done) RS_CHECK(work());
    if (part && fault->written != 0) RS_CHECK(part(fault->written));
    return fail(fault->code, path + ": a fault of the test's storage");
  }

  os::FileSystem& below_;
  std::mutex mutex_;
  std::shared_ptr<const Plan> plan_;
};

}  // namespace roamstead::support
