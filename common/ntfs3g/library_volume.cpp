// Mounting, and names: finding, making, moving, deleting.
#include "common/ntfs3g/library_volume.h"

#include <sys/stat.h>

#include <cerrno>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/ntfs3g/library_handles.h"

namespace roamstead::ntfs3g {
namespace {

constexpr int kMaxDepth = 4096;  // of directories: more is a cycle

std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < path.size();) {
    const auto end = std::min(path.find('/', start), path.size());
    auto part = path.substr(start, end - start);
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
    start = end + 1;
  }
  return parts;
}

tl::unexpected<Error> mount_failure(LibraryVolume::Mount& mount, int number) {
  const auto name = mount.device.device.name();
  switch (ntfs_volume_error(number)) {
    case NTFS_VOLUME_NOT_NTFS:
      return fail(ErrorCode::corrupt, name + ": holds no NTFS volume");
    case NTFS_VOLUME_HIBERNATED:
      return fail(ErrorCode::unsupported, name + ": its Windows is hibernated; start it and shut it down");
    case NTFS_VOLUME_UNCLEAN_UNMOUNT:
      return fail(
          ErrorCode::unsupported,
          name +
              ": $LogFile is open, the volume was not shut down cleanly; let its Windows recover it first");
    case NTFS_VOLUME_CORRUPT:
      return fail(ErrorCode::corrupt, name + ": the NTFS volume is damaged");
    default:
      errno = number;
      return mount.failed("mount the NTFS volume");
  }
}

}  // namespace

LibraryVolume::LibraryVolume(std::unique_ptr<Mount> mount) : mount_(std::move(mount)) {}

Result<std::unique_ptr<LibraryVolume>> LibraryVolume::mount(vdisk::BlockDevice& device, Access access) {
  const bool writable = access == Access::write;
  auto mount = std::make_unique<Mount>(device, writable);
  auto* library_device = make_library_device(mount->device);
  if (library_device == nullptr) return mount->failed("set up the device");
  // Never with RECOVER or IGNORE_HIBERFILE: they throw away what Windows has still to write.
  mount->volume = ntfs_device_mount(library_device, writable ? NTFS_MNT_NONE : NTFS_MNT_RDONLY);
  if (mount->volume == nullptr) {
    const int number = errno;
    ntfs_device_free(library_device);
    return mount_failure(*mount, number);
  }
  std::unique_ptr<LibraryVolume> volume(new LibraryVolume(std::move(mount)));
  auto* opened = volume->mount_->volume;
  if (writable && (raw_bits(opened->flags) & VOLUME_IS_DIRTY) != 0)
    return fail(ErrorCode::unsupported,
                device.name() + ": the volume is marked dirty; let its Windows check it first");
  if (ntfs_open_secure(opened) != 0) return volume->mount_->failed("open $Secure");
  if (ntfs_set_shown_files(opened, FALSE, TRUE, FALSE) != 0)
    return volume->mount_->failed("set which files are listed");
  return volume;
}

LibraryVolume::~LibraryVolume() {
  if (auto done = unmount(); !done && done.error().code != ErrorCode::unavailable)
    log_warning("unmounting: {}", done.error().to_string());
}

Result<void> LibraryVolume::unmount() {
  std::lock_guard lock(mutex_);
  if (mount_->volume == nullptr) return fail(ErrorCode::unavailable, name() + ": the volume is unmounted");
  auto* volume = std::exchange(mount_->volume, nullptr);
  ntfs_close_secure(volume);
  if (ntfs_umount(volume, FALSE) != 0) return mount_->failed("unmount");
  return {};
}

std::string LibraryVolume::name() const { return mount_->device.device.name(); }

FileReference LibraryVolume::root() { return {FILE_root, 0}; }

Result<std::uint64_t> LibraryVolume::find_locked(FileReference directory, const std::string& name) {
  RS_TRY(const auto units, to_library_name(name));
  RS_TRY(const auto inode, Inode::open_directory(*mount_, directory));
  const auto found = ntfs_inode_lookup_by_name(inode.get(), units.data(), static_cast<int>(units.size()));
  if (found != static_cast<u64>(-1)) return static_cast<std::uint64_t>(found);
  if (errno == ENOENT)
    return fail(ErrorCode::not_found, this->name() + ": no '" + name + "' in " + describe(directory));
  return mount_->failed("look up '" + name + "'");
}

namespace {
FileReference to_reference(std::uint64_t raw) { return {MREF(raw), static_cast<std::uint16_t>(MSEQNO(raw))}; }
}  // namespace

Result<FileReference> LibraryVolume::walk_locked(const std::string& path) {
  auto at = root();
  for (auto& part : components(path)) {
    RS_TRY_CTX(const auto found, path, find_locked(at, part));
    at = to_reference(found);
  }
  return at;
}

Result<FileReference> LibraryVolume::find(const std::string& path) {
  std::lock_guard lock(mutex_);
  return walk_locked(path);
}

Result<FileReference> LibraryVolume::find_child(FileReference directory, const std::string& name) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto found, find_locked(directory, name));
  return to_reference(found);
}

Result<std::vector<ItemName>> LibraryVolume::list(FileReference directory) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto inode, Inode::open_directory(*mount_, directory));
  std::vector<ItemName> names;
  const auto add = [](void* context, const ntfschar* name, const int length, const int name_type, const s64,
                      const MFT_REF reference, const unsigned) -> int {
    const std::u16string units(name, name + length);
    if (name_type != FILE_NAME_DOS && units != u"." && units != u"..")
      static_cast<std::vector<ItemName>*>(context)->push_back({to_wtf8(units), to_reference(reference)});
    return 0;
  };
  s64 position = 0;
  if (ntfs_readdir(inode.get(), &position, &names, add) != 0)
    return mount_->failed("list " + describe(directory));
  return names;
}

Result<FileReference> LibraryVolume::create_locked(FileReference directory, const std::string& name,
                                                   ItemKind kind) {
  RS_TRY(const auto units, to_library_name(name));
  auto found = find_locked(directory, name);
  if (found)
    return fail(ErrorCode::exists, this->name() + ": '" + name + "' exists in " + describe(directory));
  if (found.error().code != ErrorCode::not_found) return fail(std::move(found).error());
  RS_TRY(auto parent, Inode::open_directory(*mount_, directory));
  SECURITY_CONTEXT context{};
  PERMISSIONS_CACHE* cache = nullptr;
  context.vol = mount_->volume;
  context.pseccache = &cache;
  const bool is_directory = kind == ItemKind::directory;
  const auto security = ntfs_inherited_id(&context, parent.get(), is_directory ? TRUE : FALSE);
  auto* created = ntfs_create(parent.get(), security, units.data(), static_cast<u8>(units.size()),
                              is_directory ? S_IFDIR : S_IFREG);
  if (created == nullptr) return mount_->failed("make '" + name + "' in " + describe(directory));
  Inode inode(*mount_, created);
  const auto reference = inode.reference();
  parent.touch();
  RS_CHECK(inode.close_in(parent));
  RS_CHECK(parent.close());
  return reference;
}

Result<FileReference> LibraryVolume::create(FileReference directory, const std::string& name, ItemKind kind) {
  std::lock_guard lock(mutex_);
  return create_locked(directory, name, kind);
}

Result<FileReference> LibraryVolume::make_directories(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto at = root();
  for (auto& part : components(path)) {
    auto found = find_locked(at, part);
    if (!found && found.error().code == ErrorCode::not_found) {
      RS_TRY_CTX(at, path, create_locked(at, part, ItemKind::directory));
      continue;
    }
    if (!found) return fail(std::move(found).error().with(path));
    at = to_reference(*found);
    RS_TRY(const auto inode, Inode::open(*mount_, at));
    if (!inode.is_directory()) return fail(ErrorCode::exists, path + ": '" + part + "' is a file");
  }
  return at;
}

Result<void> LibraryVolume::link_locked(FileReference item, FileReference directory,
                                        const std::string& name) {
  RS_TRY(const auto units, to_library_name(name));
  auto found = find_locked(directory, name);
  if (found)
    return fail(ErrorCode::exists, this->name() + ": '" + name + "' exists in " + describe(directory));
  if (found.error().code != ErrorCode::not_found) return fail(std::move(found).error());
  RS_TRY(auto parent, Inode::open_directory(*mount_, directory));
  RS_TRY(auto inode, Inode::open(*mount_, item));
  if (ntfs_link(inode.get(), parent.get(), units.data(), static_cast<u8>(units.size())) != 0)
    return mount_->failed("give " + describe(item) + " the name '" + name + "'");
  ntfs_inode_update_times(inode.get(), NTFS_UPDATE_CTIME);
  parent.touch();
  // The directory first: closing an inode with names in several directories writes to the indexes of all of
  // them.
  RS_CHECK(parent.close());
  return inode.close();
}

Result<void> LibraryVolume::link(FileReference file, FileReference directory, const std::string& name) {
  std::lock_guard lock(mutex_);
  {
    RS_TRY(const auto inode, Inode::open(*mount_, file));
    if (inode.is_directory())
      return fail(ErrorCode::invalid_argument, describe(file) + " is a directory: no hard links");
  }
  return link_locked(file, directory, name);
}

Result<void> LibraryVolume::remove_locked(FileReference directory, const std::string& name) {
  RS_TRY(const auto units, to_library_name(name));
  RS_TRY(const auto found, find_locked(directory, name));
  RS_TRY(auto parent, Inode::open_directory(*mount_, directory));
  RS_TRY(auto inode, Inode::open(*mount_, to_reference(found)));
  parent.touch();
  // Closes both, whatever happens.
  if (ntfs_delete(mount_->volume, nullptr, inode.release(), parent.release(), units.data(),
                  static_cast<u8>(units.size())) != 0)
    return mount_->failed("delete '" + name + "' in " + describe(directory));
  return {};
}

Result<void> LibraryVolume::remove(FileReference directory, const std::string& name) {
  std::lock_guard lock(mutex_);
  return remove_locked(directory, name);
}

Result<void> LibraryVolume::check_not_below(FileReference item, FileReference directory) {
  auto at = directory;
  for (int depth = 0; at.record != FILE_root; ++depth) {
    if (at.record == item.record)
      return fail(ErrorCode::invalid_argument,
                  name() + ": " + describe(item) + " cannot be moved below itself");
    if (depth == kMaxDepth)
      return fail(ErrorCode::corrupt, name() + ": the parents of " + describe(item) + " run in a circle");
    RS_TRY(auto inode, Inode::open_directory(*mount_, at));
    auto* parent = ntfs_dir_parent_inode(inode.get());
    if (parent == nullptr) return mount_->failed("find the parent of " + describe(at));
    at = Inode(*mount_, parent).reference();
  }
  return {};
}

Result<void> LibraryVolume::rename(FileReference from_directory, const std::string& from,
                                   FileReference to_directory, const std::string& to) {
  std::lock_guard lock(mutex_);
  RS_TRY(const auto raw, find_locked(from_directory, from));
  const auto item = to_reference(raw);
  bool is_directory = false;
  {
    RS_TRY(const auto inode, Inode::open(*mount_, item));
    is_directory = inode.is_directory();
  }
  if (is_directory) RS_CHECK(check_not_below(item, to_directory));
  // The library has no rename: a second name, then the first goes (for directories too: not empty matters
  // only for the last name). The mutex keeps the state between from being seen or frozen.
  RS_CHECK(link_locked(item, to_directory, to));
  return remove_locked(from_directory, from);
}

Result<void> LibraryVolume::sync_locked() {
  auto* volume = mount_->volume;
  if (volume == nullptr) return fail(ErrorCode::unavailable, name() + ": the volume is unmounted");
  // The library keeps these open, and writes them back only when it unmounts.
  for (auto* inode :
       {volume->secure_ni, volume->lcnbmp_ni, volume->mft_ni, volume->mftmirr_ni, volume->vol_ni})
    if (inode != nullptr && NInoDirty(inode) != 0 && ntfs_inode_sync(inode) != 0)
      return mount_->failed("write back " + describe({inode->mft_no, 0}));
  if (ntfs_device_sync(volume->dev) != 0) return mount_->failed("flush");
  return {};
}

Result<void> LibraryVolume::sync() {
  std::lock_guard lock(mutex_);
  return sync_locked();
}

Result<void> LibraryVolume::quiesce(const std::function<Result<void>()>& action) {
  std::lock_guard lock(mutex_);
  RS_CHECK(sync_locked());
  return action();
}

}  // namespace roamstead::ntfs3g
