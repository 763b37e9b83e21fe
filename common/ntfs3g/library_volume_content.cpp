// Streams and their bytes.
#include <cerrno>

#include "common/base/text.h"
#include "common/ntfs3g/library_handles.h"

namespace roamstead::ntfs3g {
namespace {

constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;

Result<void> check_offset(std::uint64_t offset, std::uint64_t length) {
  if (offset > kMaxOffset || length > kMaxOffset)
    return fail(ErrorCode::invalid_argument,
                "offset " + std::to_string(offset) + " is beyond what NTFS can hold");
  return {};
}

struct PutContext {
  void operator()(ntfs_attr_search_ctx* context) const { ntfs_attr_put_search_ctx(context); }
};

}  // namespace

Result<std::vector<StreamName>> LibraryVolume::streams(FileReference file) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto inode, Inode::open(*mount_, file));
  const std::unique_ptr<ntfs_attr_search_ctx, PutContext> context(
      ntfs_attr_get_search_ctx(inode.get(), nullptr));
  if (!context) return mount_->failed("list the streams of " + describe(file));
  std::vector<StreamName> streams;
  while (ntfs_attr_lookup(AT_DATA, nullptr, 0, CASE_SENSITIVE, 0, nullptr, 0, context.get()) == 0) {
    const auto* attribute = context->attr;
    if (attribute->name_length == 0) continue;
    std::u16string units(attribute->name_length, u'\0');
    std::memcpy(units.data(), reinterpret_cast<const char*>(attribute) + attribute->name_offset,
                units.size() * 2);
    streams.push_back(
        {to_wtf8(units), static_cast<std::uint64_t>(ntfs_get_attribute_value_length(attribute))});
  }
  if (errno != ENOENT) return mount_->failed("list the streams of " + describe(file));
  return streams;
}

Result<void> LibraryVolume::make_stream(FileReference file, const std::string& stream) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, file));
  RS_TRY(auto name, to_library_name(stream));
  if (ntfs_attr_exist(inode.get(), AT_DATA, name.data(), static_cast<u32>(name.size())) != 0) return {};
  if (ntfs_attr_add(inode.get(), AT_DATA, name.data(), static_cast<u8>(name.size()), nullptr, 0) != 0)
    return mount_->failed("add stream '" + stream + "' to " + describe(file));
  inode.touch();
  return inode.close();
}

Result<void> LibraryVolume::remove_stream(FileReference file, const std::string& stream) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, file));
  RS_TRY(auto name, to_library_name(stream));
  if (ntfs_attr_remove(inode.get(), AT_DATA, name.data(), static_cast<u32>(name.size())) != 0)
    return mount_->failed("remove stream '" + stream + "' of " + describe(file));
  inode.touch();
  return inode.close();
}

Result<std::uint64_t> LibraryVolume::size(FileReference file, const std::string& stream) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto inode, Inode::open(*mount_, file));
  if (inode.is_directory() && stream.empty()) return std::uint64_t{0};
  RS_TRY(const auto attribute, open_stream(*mount_, inode, stream));
  return static_cast<std::uint64_t>(attribute->data_size);
}

Result<std::size_t> LibraryVolume::read(FileReference file, const std::string& stream, std::uint64_t offset,
                                        MutableByteView out) {
  RS_CHECK(check_offset(offset, out.size()));
  std::lock_guard lock(mutex_);
  RS_TRY(const auto inode, Inode::open(*mount_, file));
  RS_TRY(const auto attribute, open_stream(*mount_, inode, stream));
  std::size_t done = 0;
  while (done < out.size()) {
    const auto count = ntfs_attr_pread(attribute.get(), static_cast<s64>(offset + done),
                                       static_cast<s64>(out.size() - done), out.data() + done);
    if (count < 0)
      return mount_->failed("read stream '" + stream + "' of " + describe(file) + " at " +
                            std::to_string(offset + done));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<void> LibraryVolume::write(FileReference file, const std::string& stream, std::uint64_t offset,
                                  ByteView data) {
  RS_CHECK(check_offset(offset, data.size()));
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, file));
  RS_TRY(auto attribute, open_stream(*mount_, inode, stream));
  for (std::size_t done = 0; done < data.size();) {
    errno = 0;
    const auto count = ntfs_attr_pwrite(attribute.get(), static_cast<s64>(offset + done),
                                        static_cast<s64>(data.size() - done), data.data() + done);
    if (count <= 0) {
      if (errno == 0) errno = ENOSPC;
      return mount_->failed("write stream '" + stream + "' of " + describe(file) + " at " +
                            std::to_string(offset + done));
    }
    done += static_cast<std::size_t>(count);
  }
  if ((attribute->data_flags & ATTR_COMPRESSION_MASK) != 0 && ntfs_attr_pclose(attribute.get()) != 0)
    return mount_->failed("write the compressed end of " + describe(file));
  attribute.reset();
  inode.touch();
  return inode.close();
}

Result<void> LibraryVolume::truncate(FileReference file, const std::string& stream,
                                     std::uint64_t size_bytes) {
  RS_CHECK(check_offset(size_bytes, 0));
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, file));
  RS_TRY(auto attribute, open_stream(*mount_, inode, stream));
  if (ntfs_attr_truncate(attribute.get(), static_cast<s64>(size_bytes)) != 0)
    return mount_->failed("resize stream '" + stream + "' of " + describe(file));
  attribute.reset();
  inode.touch();
  return inode.close();
}

}  // namespace roamstead::ntfs3g
