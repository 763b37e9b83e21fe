#include "tests/support/ntfs_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <stdexcept>

#include "common/base/text.h"

extern "C" {
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/reparse.h>
#include <ntfs-3g/security.h>
#include <ntfs-3g/volume.h>
}
#undef min  // macros of the library's headers
#undef max

namespace roamstead::support {
namespace {

[[noreturn]] void raise(const std::string& what) {
  const int error = errno;
  throw std::runtime_error(what + ": " + std::strerror(error));
}

// UTF-16 of a name as the library wants it. Its attribute functions take over names that were allocated by
// malloc.
std::vector<ntfschar> to_ntfs(const std::string& name) {
  const auto units = to_utf16(name);
  if (!units) throw std::runtime_error(units.error().to_string());
  return {units->begin(), units->end()};
}

struct CloseInode {
  void operator()(ntfs_inode* inode) const { ntfs_inode_close(inode); }
};
using Inode = std::unique_ptr<ntfs_inode, CloseInode>;

struct CloseAttribute {
  void operator()(ntfs_attr* attribute) const { ntfs_attr_close(attribute); }
};
using Attribute = std::unique_ptr<ntfs_attr, CloseAttribute>;

std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Attribute open_stream(ntfs_inode* inode, const std::string& stream) {
  if (stream.empty()) return Attribute(ntfs_attr_open(inode, AT_DATA, AT_UNNAMED, 0));
  auto units = to_ntfs(stream);  // copied by the library
  return Attribute(ntfs_attr_open(inode, AT_DATA, units.data(), static_cast<u32>(units.size())));
}

// The library's device: a cursor on a BlockDevice. Sizes here are of a device that its BlockDevice checks.
struct Cursor {
  vdisk::BlockDevice& device;
  s64 at = 0;
};
Cursor& cursor(ntfs_device* device) { return *static_cast<Cursor*>(device->d_private); }

int open_device(ntfs_device* device, int flags) {
  NDevSetOpen(device);
  if ((flags & O_ACCMODE) != O_RDWR) NDevSetReadOnly(device);
  return 0;
}
int close_device(ntfs_device* device) {
  const auto flushed = cursor(device).device.flush();
  delete &cursor(device);
  device->d_private = nullptr;
  NDevClearOpen(device);
  return flushed ? 0 : -1;
}
s64 seek_device(ntfs_device* device, s64 offset, int whence) {
  auto& place = cursor(device);
  const auto base = whence == SEEK_SET   ? 0
                    : whence == SEEK_CUR ? place.at
                                         : static_cast<s64>(place.device.size_bytes());
  return place.at = base + offset;
}
s64 read_device_at(ntfs_device* device, void* buffer, s64 count, s64 offset) {
  const MutableByteView out(static_cast<std::byte*>(buffer), static_cast<std::size_t>(count));
  if (cursor(device).device.read(static_cast<std::uint64_t>(offset), out)) return count;
  errno = EIO;
  return -1;
}
s64 write_device_at(ntfs_device* device, const void* buffer, s64 count, s64 offset) {
  const ByteView data(static_cast<const std::byte*>(buffer), static_cast<std::size_t>(count));
  NDevSetDirty(device);
  if (cursor(device).device.write(static_cast<std::uint64_t>(offset), data)) return count;
  errno = EIO;
  return -1;
}
s64 read_device(ntfs_device* device, void* buffer, s64 count) {
  const auto got = read_device_at(device, buffer, count, cursor(device).at);
  if (got > 0) cursor(device).at += got;
  return got;
}
s64 write_device(ntfs_device* device, const void* buffer, s64 count) {
  const auto written = write_device_at(device, buffer, count, cursor(device).at);
  if (written > 0) cursor(device).at += written;
  return written;
}
int sync_device(ntfs_device* device) { return cursor(device).device.flush() ? 0 : -1; }
int stat_device(ntfs_device* device, struct stat* result) {
  *result = {};
  result->st_mode = S_IFREG;
  result->st_size = static_cast<off_t>(cursor(device).device.size_bytes());
  return 0;
}
int control_device(ntfs_device*, unsigned long, void*) {
  errno = ENOTTY;
  return -1;
}

ntfs_device_operations kBlockDeviceOperations = {
    open_device,    close_device,    seek_device, read_device, write_device,
    read_device_at, write_device_at, sync_device, stat_device, control_device,
};

}  // namespace

bool can_format_ntfs() {
  for (const char* path : {"/usr/sbin/mkntfs", "/sbin/mkntfs", "/usr/bin/mkntfs"})
    if (std::filesystem::exists(path)) return true;
  std::cout << "skipped: mkntfs (package ntfs-3g) is not installed\n";
  return false;
}

void format_ntfs(const std::string& image, const FormatOptions& options) {
  std::ofstream(image).close();
  std::filesystem::resize_file(image, options.size_bytes);
  const auto command = "PATH=$PATH:/usr/sbin:/sbin mkntfs -Q -F -q -c " +
                       std::to_string(options.cluster_bytes) + " -s " + std::to_string(options.sector_bytes) +
                       " -p 0 -H 0 -S 0 -L '" + options.label + "' '" + image + "' >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("mkntfs failed: " + command);
}

struct NtfsImage::Mount {
  ntfs_volume* volume = nullptr;

  Inode open(std::uint64_t record) {
    Inode inode(ntfs_inode_open(volume, static_cast<MFT_REF>(record)));
    if (!inode) raise("open record " + std::to_string(record));
    return inode;
  }

  std::optional<std::uint64_t> find(const std::string& path) {
    std::uint64_t at = FILE_root;
    for (std::size_t start = 0; start < path.size();) {
      const auto end = std::min(path.find('/', start), path.size());
      const auto name = to_ntfs(path.substr(start, end - start));
      const auto directory = open(at);
      const auto found =
          ntfs_inode_lookup_by_name(directory.get(), name.data(), static_cast<int>(name.size()));
      if (found == static_cast<u64>(-1)) return std::nullopt;
      at = MREF(found);
      start = end + 1;
    }
    return at;
  }

  Inode open(const std::string& path) {
    const auto record = find(path);
    if (!record) throw std::runtime_error("no " + path);
    return open(*record);
  }

  // The library's view of a directory goes stale when a new inode is closed while the directory is open.
  static void close_in(Inode inode, ntfs_inode* directory) {
    if (ntfs_inode_close_in_dir(inode.release(), directory) != 0) raise("close");
  }

  std::uint64_t create(const std::string& path, mode_t type) {
    const auto [parent, name] = split(path);
    const auto units = to_ntfs(name);
    const auto directory = open(parent);
    Inode inode(ntfs_create(directory.get(), 0, units.data(), static_cast<u8>(units.size()), type));
    if (!inode) raise("create " + path);
    const auto record = inode->mft_no;
    close_in(std::move(inode), directory.get());
    return record;
  }

  Attribute open_stream_of(const Inode& inode, const std::string& path, const std::string& stream) {
    auto attribute = open_stream(inode.get(), stream);
    if (!attribute) raise("open stream \"" + stream + "\" of " + path);
    return attribute;
  }
};

NtfsImage::NtfsImage(const std::string& image, bool writable) : mount_(std::make_unique<Mount>()) {
  mount_->volume = ntfs_mount(image.c_str(), writable ? NTFS_MNT_NONE : NTFS_MNT_RDONLY);
  if (mount_->volume == nullptr) raise("mount " + image);
  NVolSetCompression(mount_->volume);
  if (ntfs_open_secure(mount_->volume) != 0) raise("$Secure of " + image);
}

NtfsImage::NtfsImage(vdisk::BlockDevice& device) : mount_(std::make_unique<Mount>()) {
  auto* library_device = ntfs_device_alloc("device", 0, &kBlockDeviceOperations, new Cursor{device, 0});
  if (library_device == nullptr) raise("device");
  mount_->volume = ntfs_device_mount(library_device, NTFS_MNT_NONE);
  if (mount_->volume == nullptr) raise("mount " + device.name());
  if (ntfs_open_secure(mount_->volume) != 0) raise("$Secure of " + device.name());
}

NtfsImage::~NtfsImage() {
  ntfs_close_secure(mount_->volume);
  if (ntfs_umount(mount_->volume, FALSE) != 0)
    std::cout << "unmount failed: " << std::strerror(errno) << '\n';
}

std::uint64_t NtfsImage::make_directory(const std::string& path) { return mount_->create(path, S_IFDIR); }
std::uint64_t NtfsImage::make_file(const std::string& path) { return mount_->create(path, S_IFREG); }

bool NtfsImage::write(const std::string& path, std::uint64_t offset, ByteView data,
                      const std::string& stream) {
  auto record = mount_->find(path);
  if (!record) record = make_file(path);
  const auto inode = mount_->open(*record);
  auto attribute = open_stream(inode.get(), stream);
  if (!attribute) {
    auto name = to_ntfs(stream);
    if (ntfs_attr_add(inode.get(), AT_DATA, name.data(), static_cast<u8>(name.size()), nullptr, 0) != 0) {
      if (errno == ENOSPC) return false;
      raise("add stream \"" + stream + "\" to " + path);
    }
    attribute = mount_->open_stream_of(inode, path, stream);
  }
  if (data.empty()) return true;
  const auto size = static_cast<s64>(data.size());
  const auto written = ntfs_attr_pwrite(attribute.get(), static_cast<s64>(offset), size, data.data());
  if (written < 0 && errno != ENOSPC) raise("write " + path);
  if ((attribute->data_flags & ATTR_COMPRESSION_MASK) != 0) ntfs_attr_pclose(attribute.get());
  return written == size;
}

void NtfsImage::truncate(const std::string& path, std::uint64_t size_bytes, const std::string& stream) {
  const auto inode = mount_->open(path);
  const auto attribute = mount_->open_stream_of(inode, path, stream);
  if (ntfs_attr_truncate(attribute.get(), static_cast<s64>(size_bytes)) != 0) raise("truncate " + path);
}

void NtfsImage::link(const std::string& existing, const std::string& path) {
  const auto [parent, name] = split(path);
  const auto units = to_ntfs(name);
  const auto record = mount_->find(existing);
  if (!record) throw std::runtime_error("no " + existing);
  auto directory = mount_->open(parent);
  auto inode = mount_->open(*record);
  if (ntfs_link(inode.get(), directory.get(), units.data(), static_cast<u8>(units.size())) != 0)
    raise("link " + path);
  // The directory first: the inode's names lie in two directories now, and closing it updates both indexes.
  // (Given one of them, the library would open the other and never close it.)
  if (ntfs_inode_close(directory.release()) != 0) raise("close " + parent);
  if (ntfs_inode_close(inode.release()) != 0) raise("close " + path);
}

void NtfsImage::remove(const std::string& path) {
  const auto [parent, name] = split(path);
  const auto units = to_ntfs(name);
  const auto record = mount_->find(path);  // first: the library must not have an inode open twice
  if (!record) throw std::runtime_error("no " + path);
  auto directory = mount_->open(parent);
  auto inode = mount_->open(*record);
  // The library closes both.
  if (ntfs_delete(mount_->volume, nullptr, inode.release(), directory.release(), units.data(),
                  static_cast<u8>(units.size())) != 0)
    raise("remove " + path);
}

void NtfsImage::rename(const std::string& from, const std::string& to) {
  link(from, to);
  remove(from);
}

void NtfsImage::remove_stream(const std::string& path, const std::string& stream) {
  const auto inode = mount_->open(path);
  auto name = to_ntfs(stream);
  if (ntfs_attr_remove(inode.get(), AT_DATA, name.data(), static_cast<u32>(name.size())) != 0)
    raise("remove stream \"" + stream + "\" of " + path);
}

void NtfsImage::set_attributes(const std::string& path, std::uint32_t attributes) {
  const auto inode = mount_->open(path);
  if (ntfs_set_ntfs_attrib(inode.get(), reinterpret_cast<const char*>(&attributes), sizeof attributes, 0) !=
      0)
    raise("attributes of " + path);
}

void NtfsImage::set_compressed(const std::string& path) {
  const auto inode = mount_->open(path);
  const std::uint32_t value = static_cast<std::uint32_t>(inode->flags) | 0x800;
  if (ntfs_set_ntfs_attrib(inode.get(), reinterpret_cast<const char*>(&value), sizeof value, 0) != 0)
    raise("compress " + path);
}

void NtfsImage::set_reparse_point(const std::string& path, ByteView whole) {
  const auto inode = mount_->open(path);
  if (ntfs_set_ntfs_reparse_data(inode.get(), as_text(whole).data(), whole.size(), 0) == 0) return;
  // It does not find the index of reparse points on every volume: then without an entry in that.
  const auto bytes = to_bytes(whole);
  if (ntfs_attr_add(inode.get(), AT_REPARSE_POINT, AT_UNNAMED, 0, reinterpret_cast<const u8*>(bytes.data()),
                    static_cast<s64>(bytes.size())) != 0)
    raise("reparse " + path);
  inode->flags = static_cast<FILE_ATTR_FLAGS>(inode->flags | FILE_ATTR_REPARSE_POINT);
  NInoFileNameSetDirty(inode.get());
}

void NtfsImage::set_security_descriptor(const std::string& path, ByteView self_relative) {
  const auto inode = mount_->open(path);
  PERMISSIONS_CACHE* cache = nullptr;
  SECURITY_CONTEXT context{};
  context.vol = mount_->volume;
  context.pseccache = &cache;
  if (ntfs_set_ntfs_acl(&context, inode.get(), as_text(self_relative).data(), self_relative.size(), 0) != 0)
    raise("set security of " + path);
}

void NtfsImage::set_times(const std::string& path, std::uint64_t created_100ns, std::uint64_t written_100ns) {
  const auto inode = mount_->open(path);
  const std::uint64_t times[3] = {created_100ns, written_100ns, written_100ns};
  if (ntfs_inode_set_times(inode.get(), reinterpret_cast<const char*>(times), sizeof times, 0) != 0)
    raise("set times of " + path);
}

std::optional<NtfsImage::Attributes> NtfsImage::find(const std::string& path) {
  const auto record = mount_->find(path);
  if (!record) return std::nullopt;
  const auto inode = mount_->open(*record);
  Attributes found;
  found.record = inode->mft_no;
  found.sequence = inode->mrec->sequence_number;
  found.directory = (inode->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0;
  found.attributes = static_cast<std::uint32_t>(inode->flags);
  found.created_100ns = static_cast<std::uint64_t>(inode->creation_time);
  found.written_100ns = static_cast<std::uint64_t>(inode->last_data_change_time);
  found.security_id = inode->security_id;
  return found;
}

std::uint64_t NtfsImage::size(const std::string& path, const std::string& stream) {
  const auto inode = mount_->open(path);
  return static_cast<std::uint64_t>(mount_->open_stream_of(inode, path, stream)->data_size);
}

Bytes NtfsImage::read(const std::string& path, std::uint64_t offset, std::size_t count,
                      const std::string& stream) {
  const auto inode = mount_->open(path);
  const auto attribute = mount_->open_stream_of(inode, path, stream);
  if (count == 0) return {};
  Bytes bytes(count);
  const auto got =
      ntfs_attr_pread(attribute.get(), static_cast<s64>(offset), static_cast<s64>(count), bytes.data());
  if (got < 0) raise("read " + path);
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

Bytes NtfsImage::security_descriptor(const std::string& path) {
  const auto inode = mount_->open(path);
  PERMISSIONS_CACHE* cache = nullptr;
  SECURITY_CONTEXT context{};
  context.vol = mount_->volume;
  context.pseccache = &cache;
  Bytes bytes(65536);
  const int size =
      ntfs_get_ntfs_acl(&context, inode.get(), reinterpret_cast<char*>(bytes.data()), bytes.size());
  if (size < 0) raise("security of " + path);
  bytes.resize(static_cast<std::size_t>(size));
  return bytes;
}

std::vector<std::string> NtfsImage::list(const std::string& path) {
  std::vector<std::string> names;
  const auto inode = mount_->open(path);
  s64 position = 0;
  const auto add = [](void* context, const ntfschar* name, const int length, const int name_type, const s64,
                      const MFT_REF, const unsigned) -> int {
    std::u16string units(name, name + length);
    if (name_type != FILE_NAME_DOS && units != u"." && units != u"..")
      static_cast<std::vector<std::string>*>(context)->push_back(to_wtf8(units));
    return 0;
  };
  if (ntfs_readdir(inode.get(), &position, &names, add) != 0) raise("list " + path);
  return names;
}

}  // namespace roamstead::support
