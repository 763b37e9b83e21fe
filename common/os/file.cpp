#include "common/os/file.h"

namespace roamstead::os {

Result<void> File::read_exactly(std::uint64_t offset, MutableByteView out) const {
  RS_TRY(auto count, read_at(offset, out));
  if (count != out.size())
    return fail(ErrorCode::corrupt, path() + ": ends at byte " + std::to_string(offset + count) + ", " +
                                        std::to_string(out.size()) + " bytes expected at " +
                                        std::to_string(offset));
  return {};
}

Result<void> File::allocate(std::uint64_t size_bytes) {
  RS_TRY(auto now, size());
  return now < size_bytes ? truncate(size_bytes) : Result<void>{};
}

Result<std::int64_t> FileSystem::modified_seconds(const std::string& path) {
  return fail(ErrorCode::unsupported, path + ": this file system keeps no times");
}

Result<Bytes> read_file(FileSystem& files, const std::string& path, std::uint64_t limit_bytes) {
  RS_TRY(auto file, files.open(path, OpenMode::read));
  RS_TRY(auto size, file->size());
  if (size > limit_bytes)
    return fail(ErrorCode::invalid_argument, path + ": " + std::to_string(size) + " bytes, more than the " +
                                                 std::to_string(limit_bytes) + " this file may have");
  Bytes content(size);
  RS_CHECK(file->read_exactly(0, content));
  return content;
}

Result<void> write_file_durably(FileSystem& files, const std::string& path, ByteView content) {
  auto temporary = path + ".new";
  {
    RS_TRY(auto file, files.open(temporary, OpenMode::create));
    RS_CHECK(file->truncate(0));
    RS_CHECK(file->write_at(0, content));
    RS_CHECK(file->sync());
  }
  RS_CHECK(files.rename(temporary, path));
  return files.sync_directory(parent_directory(path));
}

std::string parent_directory(const std::string& path) {
  auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string base_name(const std::string& path) {
  auto slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string join_path(const std::string& directory, const std::string& name) {
  if (directory.empty() || directory == ".") return name;
  return directory.back() == '/' ? directory + name : directory + "/" + name;
}

}  // namespace roamstead::os
