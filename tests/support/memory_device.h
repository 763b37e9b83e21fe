// Block devices for tests: one in memory, one over an os::File.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "common/os/file.h"
#include "common/vdisk/block_device.h"

namespace roamstead::support {

// Not safe against concurrent writes of the same range.
class MemoryDevice final : public vdisk::BlockDevice {
 public:
  explicit MemoryDevice(Bytes content, std::string name = "memory")
      : content_(std::move(content)), name_(std::move(name)) {}

  std::uint64_t size_bytes() const override { return content_.size(); }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    RS_CHECK(check(offset, out.size()));
    bytes_read_ += out.size();
    std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    RS_CHECK(check(offset, data.size()));
    std::copy(data.begin(), data.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  Result<void> flush() override { return {}; }
  std::string name() const override { return name_; }

  Bytes& content() { return content_; }
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  Result<void> check(std::uint64_t offset, std::size_t length) const {
    if (offset > content_.size() || length > content_.size() - offset)
      return fail(ErrorCode::invalid_argument, name_ + ": " + std::to_string(length) + " bytes at " +
                                                   std::to_string(offset) + " of " +
                                                   std::to_string(content_.size()));
    return {};
  }

  Bytes content_;
  std::string name_;
  mutable std::atomic<std::uint64_t> bytes_read_{0};
};

// A raw image. Its size is taken once.
class FileDevice final : public vdisk::BlockDevice {
 public:
  static Result<std::unique_ptr<FileDevice>> open(os::FileSystem& files, const std::string& path,
                                                  os::OpenMode mode) {
    RS_TRY(auto file, files.open(path, mode));
    RS_TRY(const auto size, file->size());
    return std::unique_ptr<FileDevice>(new FileDevice(std::move(file), size));
  }

  std::uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    return file_->read_exactly(offset, out);
  }
  Result<void> write(std::uint64_t offset, ByteView data) override { return file_->write_at(offset, data); }
  Result<void> flush() override { return file_->sync(); }
  std::string name() const override { return file_->path(); }

 private:
  FileDevice(std::unique_ptr<os::File> file, std::uint64_t size_bytes)
      : file_(std::move(file)), size_bytes_(size_bytes) {}

  std::unique_ptr<os::File> file_;
  std::uint64_t size_bytes_;
};

}  // namespace roamstead::support
