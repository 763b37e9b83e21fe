#include "common/ntfs3g/library_handles.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/text.h"

namespace roamstead::ntfs3g {
namespace {

ErrorCode code_of(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::exists;
    case ENOTEMPTY:
      return ErrorCode::conflict;
    case ENOSPC:
      return ErrorCode::full;
    case EROFS:
    case EPERM:
    case EACCES:
      return ErrorCode::denied;
    case EOPNOTSUPP:
      return ErrorCode::unsupported;
    case EINVAL:
    case ENAMETOOLONG:
    case EFBIG:
      return ErrorCode::invalid_argument;
    default:
      return ErrorCode::io;
  }
}

}  // namespace

tl::unexpected<Error> LibraryVolume::Mount::failed(const std::string& what) {
  const int number = errno;
  auto message = device.device.name() + ": cannot " + what + ": " + std::strerror(number);
  if (!device.last_error.empty()) message += " (" + std::exchange(device.last_error, {}) + ")";
  return fail(device.was_full ? ErrorCode::full : code_of(number), std::move(message));
}

std::string describe(FileReference reference) {
  return "record " + std::to_string(reference.record) + "/" + std::to_string(reference.sequence);
}

Result<Inode> Inode::open(LibraryVolume::Mount& mount, FileReference reference) {
  if (mount.volume == nullptr)
    return fail(ErrorCode::unavailable, mount.device.device.name() + ": the volume is unmounted");
  // By number only: the library's cache of inodes would not check the sequence number.
  auto* inode = ntfs_inode_open(mount.volume, static_cast<MFT_REF>(reference.record));
  if (inode == nullptr) return mount.failed("open " + describe(reference));
  Inode opened(mount, inode);
  if (reference.sequence != 0 && inode->mrec->sequence_number != reference.sequence) {
    const auto now = inode->mrec->sequence_number;
    return fail(ErrorCode::not_found, mount.device.device.name() + ": " + describe(reference) +
                                          " was deleted; its record now has sequence number " +
                                          std::to_string(now));
  }
  return opened;
}

Result<Inode> Inode::open_directory(LibraryVolume::Mount& mount, FileReference reference) {
  RS_TRY(auto inode, open(mount, reference));
  if (!inode.is_directory())
    return fail(ErrorCode::invalid_argument,
                mount.device.device.name() + ": " + describe(reference) + " is no directory");
  return inode;
}

Result<void> Inode::close() {
  const auto number = inode_->mft_no;
  if (ntfs_inode_close(release()) != 0) return mount_->failed("write back record " + std::to_string(number));
  return {};
}

Result<void> Inode::close_in(Inode& directory) {
  const auto number = inode_->mft_no;
  // A plain close would update the directory's index behind the back of the open directory.
  if (ntfs_inode_close_in_dir(release(), directory.get()) != 0)
    return mount_->failed("write back record " + std::to_string(number));
  return {};
}

Result<std::vector<ntfschar>> to_library_name(const std::string& name) {
  RS_TRY(const auto units, to_utf16(name));
  const auto wrong = [](char16_t unit) { return unit == u'/' || unit == 0; };
  if (units.empty() || units.size() > 255 || name == "." || name == ".." || std::ranges::any_of(units, wrong))
    return fail(ErrorCode::invalid_argument, "'" + name + "' is no name of a file or stream");
  return std::vector<ntfschar>(units.begin(), units.end());
}

Result<Attribute> open_stream(LibraryVolume::Mount& mount, const Inode& inode, const std::string& stream) {
  ntfs_attr* attribute = nullptr;
  if (stream.empty()) {
    attribute = ntfs_attr_open(inode.get(), AT_DATA, AT_UNNAMED, 0);
  } else {
    RS_TRY(auto name, to_library_name(stream));
    attribute =
        ntfs_attr_open(inode.get(), AT_DATA, name.data(), static_cast<u32>(name.size()));  // copies the name
  }
  if (attribute == nullptr)
    return mount.failed("open stream '" + stream + "' of " + describe(inode.reference()));
  return Attribute(attribute);
}

}  // namespace roamstead::ntfs3g
