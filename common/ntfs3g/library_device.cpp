#include "common/ntfs3g/library_device.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace roamstead::ntfs3g {
namespace {

LibraryDevice& self(ntfs_device* device) { return *static_cast<LibraryDevice*>(device->d_private); }

s64 failed(LibraryDevice& device, const Error& error) {
  device.last_error = error.to_string();
  device.was_full = device.was_full || error.code == ErrorCode::full;
  errno = error.code == ErrorCode::full ? ENOSPC : error.code == ErrorCode::denied ? EROFS : EIO;
  return -1;
}

int open_device(ntfs_device* device, int flags) {
  if (NDevOpen(device)) {
    errno = EBUSY;
    return -1;
  }
  if ((flags & O_RDWR) == O_RDWR && !self(device).writable) {
    errno = EROFS;
    return -1;
  }
  if ((flags & O_RDWR) != O_RDWR) NDevSetReadOnly(device);
  NDevSetOpen(device);
  return 0;
}

int sync_device(ntfs_device* device) {
  if (NDevReadOnly(device) || !NDevDirty(device)) return 0;
  if (auto flushed = self(device).device.flush(); !flushed)
    return static_cast<int>(failed(self(device), flushed.error()));
  NDevClearDirty(device);
  return 0;
}

int close_device(ntfs_device* device) {
  const int synced = sync_device(device);
  NDevClearOpen(device);
  return synced;
}

s64 read_at(ntfs_device* device, void* buffer, s64 count, s64 offset) {
  auto& target = self(device);
  const auto size = target.device.size_bytes();
  if (count < 0 || offset < 0) {
    errno = EINVAL;
    return -1;
  }
  if (static_cast<std::uint64_t>(offset) >= size) return 0;
  const auto length = std::min(static_cast<std::uint64_t>(count), size - static_cast<std::uint64_t>(offset));
  auto read = target.device.read(static_cast<std::uint64_t>(offset),
                                 {static_cast<std::byte*>(buffer), static_cast<std::size_t>(length)});
  if (!read) return failed(target, read.error());
  return static_cast<s64>(length);
}

s64 write_at(ntfs_device* device, const void* buffer, s64 count, s64 offset) {
  auto& target = self(device);
  if (NDevReadOnly(device)) {
    errno = EROFS;
    return -1;
  }
  if (count < 0 || offset < 0) {
    errno = EINVAL;
    return -1;
  }
  NDevSetDirty(device);
  auto written =
      target.device.write(static_cast<std::uint64_t>(offset),
                          {static_cast<const std::byte*>(buffer), static_cast<std::size_t>(count)});
  if (!written) return failed(target, written.error());
  return count;
}

s64 seek(ntfs_device* device, s64 offset, int whence) {
  auto& target = self(device);
  s64 base = 0;
  if (whence == SEEK_CUR) base = static_cast<s64>(target.position);
  if (whence == SEEK_END) base = static_cast<s64>(target.device.size_bytes());
  s64 to = 0;
  if (__builtin_add_overflow(base, offset, &to) || to < 0) {
    errno = EINVAL;
    return -1;
  }
  target.position = static_cast<std::uint64_t>(to);
  return to;
}

s64 read_next(ntfs_device* device, void* buffer, s64 count) {
  const auto got = read_at(device, buffer, count, static_cast<s64>(self(device).position));
  if (got > 0) self(device).position += static_cast<std::uint64_t>(got);
  return got;
}

s64 write_next(ntfs_device* device, const void* buffer, s64 count) {
  const auto put = write_at(device, buffer, count, static_cast<s64>(self(device).position));
  if (put > 0) self(device).position += static_cast<std::uint64_t>(put);
  return put;
}

int stat_device(ntfs_device* device, struct stat* status) {
  *status = {};
  status->st_mode = S_IFREG | 0600;
  status->st_size = static_cast<off_t>(self(device).device.size_bytes());
  return 0;
}

int control(ntfs_device*, unsigned long, void*) {
  errno = ENOTTY;
  return -1;
}

ntfs_device_operations operations{
    .open = open_device,
    .close = close_device,
    .seek = seek,
    .read = read_next,
    .write = write_next,
    .pread = read_at,
    .pwrite = write_at,
    .sync = sync_device,
    .stat = stat_device,
    .ioctl = control,
};

}  // namespace

ntfs_device* make_library_device(LibraryDevice& device) {
  return ntfs_device_alloc(device.device.name().c_str(), 0, &operations, &device);
}

}  // namespace roamstead::ntfs3g
