// The library's inodes and attributes as objects that close themselves, and its errors as ours. Included by
// the sources of this module only.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "common/ntfs3g/library_device.h"
#include "common/ntfs3g/library_volume.h"

namespace roamstead::ntfs3g {

struct LibraryVolume::Mount {
  Mount(vdisk::BlockDevice& block_device, bool writable) : device{block_device, writable, 0, {}} {}

  LibraryDevice device;
  ntfs_volume* volume = nullptr;  // null when unmounted

  // From errno, and what the device said last.
  tl::unexpected<Error> failed(const std::string& what);
};

std::string describe(FileReference reference);

// The bits of a field that the library declares as an enumeration. A damaged volume holds values that none of
// its enumerators make, and to load such a one as an enumeration is undefined.
template <class Field>
auto raw_bits(const Field& field) {
  std::conditional_t<sizeof(Field) == 4, std::uint32_t, std::uint16_t> bits;
  static_assert(sizeof(bits) == sizeof(field));
  std::memcpy(&bits, &field, sizeof(bits));
  return bits;
}

// An open inode. While one is open no other of the same record may be; a child's close may open its parent,
// so a parent held open goes to close_in().
class Inode {
 public:
  static Result<Inode> open(LibraryVolume::Mount& mount, FileReference reference);
  static Result<Inode> open_directory(LibraryVolume::Mount& mount, FileReference reference);
  Inode(LibraryVolume::Mount& mount, ntfs_inode* inode) : mount_(&mount), inode_(inode) {}
  Inode(Inode&& other) noexcept : mount_(other.mount_), inode_(std::exchange(other.inode_, nullptr)) {}
  Inode& operator=(Inode&&) = delete;
  ~Inode() {
    if (inode_ != nullptr) ntfs_inode_close(inode_);
  }

  // Write back what changed; the destructor does so too, but cannot say when it failed.
  Result<void> close();
  // Of an inode whose only name is in that directory, which is open.
  Result<void> close_in(Inode& directory);
  ntfs_inode* release() { return std::exchange(inode_, nullptr); }

  // Its content changed now.
  void touch() {
    ntfs_inode_update_times(inode_,
                            static_cast<ntfs_time_update_flags>(NTFS_UPDATE_MTIME | NTFS_UPDATE_CTIME));
  }

  ntfs_inode* get() const { return inode_; }
  ntfs_inode* operator->() const { return inode_; }
  FileReference reference() const { return {inode_->mft_no, inode_->mrec->sequence_number}; }
  bool is_directory() const {
    std::uint16_t flags = 0;  // as raw_bits(), of a packed member
    std::memcpy(&flags, reinterpret_cast<const char*>(inode_->mrec) + offsetof(MFT_RECORD, flags),
                sizeof(flags));
    return (flags & MFT_RECORD_IS_DIRECTORY) != 0;
  }

 private:
  LibraryVolume::Mount* mount_;
  ntfs_inode* inode_;
};

// A name as the library takes it. ErrorCode::invalid_argument when it is none NTFS can hold.
Result<std::vector<ntfschar>> to_library_name(const std::string& name);

struct CloseAttribute {
  void operator()(ntfs_attr* attribute) const { ntfs_attr_close(attribute); }
};
using Attribute = std::unique_ptr<ntfs_attr, CloseAttribute>;
// A $DATA attribute; "" is the unnamed one. To be closed before its inode.
Result<Attribute> open_stream(LibraryVolume::Mount& mount, const Inode& inode, const std::string& stream);

}  // namespace roamstead::ntfs3g
