// Times, attributes, security.
#include <array>
#include <cerrno>

#include "common/ntfs3g/library_handles.h"

namespace roamstead::ntfs3g {
namespace {

constexpr std::size_t kMaxSecurityBytes = 0x10000;

// What the library wants for the calls about security: no mapping of users, no cache.
struct SecurityContext {
  explicit SecurityContext(ntfs_volume* volume) {
    context.vol = volume;
    context.pseccache = &cache;
  }
  SECURITY_CONTEXT context{};
  PERMISSIONS_CACHE* cache = nullptr;
};

}  // namespace

Result<ItemInfo> LibraryVolume::stat(FileReference item) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto inode, Inode::open(*mount_, item));
  ItemInfo info;
  info.reference = inode.reference();
  info.directory = inode.is_directory();
  info.attributes = raw_bits(inode->flags);
  info.created_100ns = inode->creation_time;
  info.written_100ns = inode->last_data_change_time;
  info.links = inode->mrec->link_count;
  if (!info.directory) {
    RS_TRY(const auto attribute, open_stream(*mount_, inode, ""));
    info.size_bytes = static_cast<std::uint64_t>(attribute->data_size);
  }
  return info;
}

Result<void> LibraryVolume::set_times(FileReference item, std::uint64_t created_100ns,
                                      std::uint64_t written_100ns) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, item));
  std::array<char, 16> raw;
  store_le<std::uint64_t>(std::as_writable_bytes(std::span(raw)), 0, created_100ns);
  store_le<std::uint64_t>(std::as_writable_bytes(std::span(raw)), 8, written_100ns);
  if (ntfs_inode_set_times(inode.get(), raw.data(), raw.size(), 0) != 0)
    return mount_->failed("set the times of " + describe(item));
  return inode.close();
}

Result<void> LibraryVolume::set_attributes(FileReference item, std::uint32_t attributes) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, item));
  std::array<char, 4> raw;
  store_le<std::uint32_t>(std::as_writable_bytes(std::span(raw)), 0, attributes);
  if (ntfs_set_ntfs_attrib(inode.get(), raw.data(), raw.size(), 0) != 0)
    return mount_->failed("set the attributes of " + describe(item));
  return inode.close();
}

Result<Bytes> LibraryVolume::security(FileReference item) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto inode, Inode::open(*mount_, item));
  SecurityContext security(mount_->volume);
  Bytes bytes(kMaxSecurityBytes);
  const int size =
      ntfs_get_ntfs_acl(&security.context, inode.get(), reinterpret_cast<char*>(bytes.data()), bytes.size());
  if (size < 0) return mount_->failed("read the security of " + describe(item));
  bytes.resize(static_cast<std::size_t>(size));
  return bytes;
}

Result<void> LibraryVolume::set_security(FileReference item, ByteView self_relative) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, item));
  SecurityContext security(mount_->volume);
  if (ntfs_set_ntfs_acl(&security.context, inode.get(), as_text(self_relative).data(), self_relative.size(),
                        0) != 0)
    return mount_->failed("set the security of " + describe(item));
  return inode.close();
}

Result<void> LibraryVolume::set_reparse_point(FileReference item, ByteView whole) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open(*mount_, item));
  if (ntfs_set_ntfs_reparse_data(inode.get(), as_text(whole).data(), whole.size(), 0) == 0)
    return inode.close();
  // It does not find the index of reparse points on every volume: then without an entry in that.
  Bytes value(whole.begin(), whole.end());
  if (ntfs_attr_add(inode.get(), AT_REPARSE_POINT, AT_UNNAMED, 0, reinterpret_cast<u8*>(value.data()),
                    static_cast<s64>(value.size())) != 0)
    return mount_->failed("set the reparse point of " + describe(item));
  inode.get()->flags = static_cast<FILE_ATTR_FLAGS>(inode.get()->flags | FILE_ATTR_REPARSE_POINT);
  NInoFileNameSetDirty(inode.get());
  return inode.close();
}

}  // namespace roamstead::ntfs3g
