#include "common/ntfs3g/shrink_log.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/base/byte_range.h"
#include "common/ntfs3g/library_headers.h"

namespace roamstead::ntfs3g {
namespace {

tl::unexpected<Error> library_failed(const std::string& path, const char* what) {
  return fail(ErrorCode::io, path + ": cannot " + what + ": " + std::strerror(errno));
}

// On the volume, beyond that many bytes of the attribute.
std::vector<ByteRange> clusters_beyond(const ntfs_attr& attribute, std::uint64_t bytes) {
  std::vector<ByteRange> ranges;
  const std::uint64_t cluster = attribute.ni->vol->cluster_size;
  for (const auto* run = attribute.rl; run != nullptr && run->length > 0; ++run) {
    if (run->lcn < 0) continue;
    const auto begin = static_cast<std::uint64_t>(run->vcn) * cluster;
    const auto length = static_cast<std::uint64_t>(run->length) * cluster;
    const auto kept = bytes > begin ? std::min(bytes - begin, length) : 0;
    if (kept < length)
      ranges.push_back({static_cast<std::uint64_t>(run->lcn) * cluster + kept, length - kept});
  }
  return ranges;
}

struct CloseVolume {
  void operator()(ntfs_volume* volume) const { ntfs_umount(volume, FALSE); }
};
struct CloseInode {
  void operator()(ntfs_inode* inode) const { ntfs_inode_close(inode); }
};
struct CloseAttr {
  void operator()(ntfs_attr* attribute) const { ntfs_attr_close(attribute); }
};

}  // namespace

Result<void> shrink_log(const std::string& path, int descriptor, std::uint64_t bytes) {
  std::vector<ByteRange> freed;
  {
    std::unique_ptr<ntfs_volume, CloseVolume> volume(ntfs_mount(path.c_str(), NTFS_MNT_NONE));
    if (!volume) return library_failed(path, "open the new volume");
    {
      const std::unique_ptr<ntfs_inode, CloseInode> inode(ntfs_inode_open(volume.get(), FILE_LogFile));
      if (!inode) return library_failed(path, "open $LogFile");
      const std::unique_ptr<ntfs_attr, CloseAttr> log(ntfs_attr_open(inode.get(), AT_DATA, AT_UNNAMED, 0));
      if (!log || ntfs_attr_map_whole_runlist(log.get()) != 0) return library_failed(path, "open $LogFile");
      if (log->data_size <= static_cast<s64>(bytes)) return {};
      freed = clusters_beyond(*log, bytes);
      if (ntfs_attr_truncate(log.get(), static_cast<s64>(bytes)) != 0)
        return library_failed(path, "shorten $LogFile");
    }
    if (ntfs_umount(volume.release(), FALSE) != 0) return library_failed(path, "close the new volume");
  }
  for (const auto& range : freed)
    if (::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                    static_cast<off_t>(range.length)) != 0)
      return library_failed(path, "free what $LogFile had");
  return {};
}

}  // namespace roamstead::ntfs3g
