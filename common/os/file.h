// The seam to the operating system's files. Everything durable goes through FileSystem, so that tests can put
// a file system underneath that forgets what was not synced (tests/support/crash_file_system.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::os {

// An open file. Concurrent reads and writes of different ranges are safe; the rest needs the caller's order.
class File {
 public:
  virtual ~File() = default;

  // Reads up to out.size() bytes; fewer only where the file ends.
  virtual Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const = 0;
  virtual Result<void> write_at(std::uint64_t offset, ByteView data) = 0;
  virtual Result<std::uint64_t> size() const = 0;
  // Shrinks, or grows with zeros (sparse where the file system can).
  virtual Result<void> truncate(std::uint64_t size_bytes) = 0;
  // Grows to at least this size with zeros for which there is room (ErrorCode::full otherwise), where the
  // file system can promise that.
  virtual Result<void> allocate(std::uint64_t size_bytes);
  // Returns once data and size are on stable storage. After a failure the file's content is unknown: do not
  // retry.
  virtual Result<void> sync() = 0;
  // Advisory and non-blocking: ErrorCode::busy when another open file holds it. Released when this object
  // goes.
  virtual Result<void> lock(bool exclusive) = 0;
  virtual const std::string& path() const = 0;

  // Exactly out.size() bytes, or an error that names file and offset.
  Result<void> read_exactly(std::uint64_t offset, MutableByteView out) const;
};

enum class OpenMode {
  read,
  read_write,  // must exist
  create,      // read and write; made when missing
  create_new,  // read and write; ErrorCode::exists when there
};

// Paths are UTF-8. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  // Replaces `to`. Durable only after sync_directory of the parents.
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  // A second name for the same file; ErrorCode::exists when `to` is there. Durable after sync_directory.
  virtual Result<void> link(const std::string& from, const std::string& to) = 0;
  // Whether two names lead to one file (hard links); both must exist.
  virtual Result<bool> same_file(const std::string& a, const std::string& b) = 0;
  virtual Result<void> remove(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  // When the file was last written, seconds since 1970. ErrorCode::unsupported where that is not known.
  virtual Result<std::int64_t> modified_seconds(const std::string& path);
  // Names (not paths) of a directory's entries, sorted.
  virtual Result<std::vector<std::string>> list_directory(const std::string& path) = 0;
  // Parents too; fine when it exists. Only for who runs this program (on Windows for SYSTEM and
  // administrators too).
  virtual Result<void> make_directories(const std::string& path) = 0;
  // Makes names created, renamed or removed in this directory durable.
  virtual Result<void> sync_directory(const std::string& path) = 0;
};

FileSystem& real_file_system();

// The whole file; refuses more than `limit_bytes`.
Result<Bytes> read_file(FileSystem& files, const std::string& path, std::uint64_t limit_bytes);
// Replaces the file atomically and durably: written beside it, synced, renamed, directory synced.
Result<void> write_file_durably(FileSystem& files, const std::string& path, ByteView content);

std::string parent_directory(const std::string& path);  // "." for a bare name
std::string base_name(const std::string& path);
std::string join_path(const std::string& directory, const std::string& name);

}  // namespace roamstead::os
