#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "coordinator/repository/importer.h"

namespace roamstead::repository {
namespace {

constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;  // 1970 in 100 ns since 1601
constexpr std::size_t kMaxAttributeBytes = 64u << 10;          // what Linux lets getxattr return
constexpr std::uint32_t kTagJunction = 0xA0000003;
constexpr std::uint32_t kTagSymlink = 0xA000000C;

tl::unexpected<Error> system_error(const std::string& path, const std::string& what) {
  auto number = errno;
  auto code = number == ENOENT                      ? ErrorCode::not_found
              : number == EACCES || number == EPERM ? ErrorCode::denied
                                                    : ErrorCode::io;
  return fail(code, path + ": " + what + ": " + std::strerror(number));
}

std::uint64_t to_100ns(const statx_timestamp& time) {
  return kUnixEpoch + static_cast<std::uint64_t>(time.tv_sec) * 10'000'000 + time.tv_nsec / 100;
}

// None when the file system does not have it.
Result<std::optional<Bytes>> attribute(const std::string& path, const std::string& name) {
  Bytes value(kMaxAttributeBytes);
  auto size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0 && (errno == ENODATA || errno == ENOTSUP || errno == EINVAL || errno == EPERM))
    return std::optional<Bytes>();
  if (size < 0) return system_error(path, "cannot read the attribute " + name);
  value.resize(static_cast<std::size_t>(size));
  return std::optional<Bytes>(std::move(value));
}

Result<void> read_ntfs_metadata(const std::string& path, SourceEntry& source) {
  auto& entry = source.entry;
  RS_TRY(auto attributes, attribute(path, "system.ntfs_attrib"));
  if (!attributes || attributes->size() != 4) return {};
  source.on_ntfs = true;
  entry.metadata.attributes = load_le<std::uint32_t>(*attributes) & profile::kRoamingAttributes;
  RS_TRY(auto times, attribute(path, "system.ntfs_times"));
  if (times && times->size() >= 16) {  // creation, then last write
    entry.metadata.created_100ns = load_le<std::uint64_t>(*times, 0);
    entry.metadata.written_100ns = load_le<std::uint64_t>(*times, 8);
  }
  RS_TRY(auto security, attribute(path, "system.ntfs_acl"));
  if (security) entry.metadata.security = std::move(*security);
  RS_TRY(auto reparse, attribute(path, "system.ntfs_reparse_data"));
  if (reparse && reparse->size() >= 4) {
    auto tag = load_le<std::uint32_t>(*reparse);
    entry.kind = tag == kTagJunction  ? profile::EntryKind::junction
                 : tag == kTagSymlink ? profile::EntryKind::symlink
                                      : profile::EntryKind::opaque;
    if (entry.kind == profile::EntryKind::opaque) entry.reparse_tag = tag;
  }
  return {};
}

// Alternate streams, which the mount shows as user.* attributes. One longer than an attribute may be cannot
// be read.
Result<void> read_stream_list(const std::string& path, SourceEntry& source) {
  auto size = ::llistxattr(path.c_str(), nullptr, 0);
  if (size <= 0) return {};
  std::string names(static_cast<std::size_t>(size), '\0');
  size = ::llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) return system_error(path, "cannot list its streams");
  names.resize(static_cast<std::size_t>(size));
  for (std::size_t at = 0; at < names.size();) {
    std::string name = names.c_str() + at;
    at += name.size() + 1;
    if (name.rfind("user.", 0) != 0) continue;
    auto length = ::lgetxattr(path.c_str(), name.c_str(), nullptr, 0);
    if (length < 0 || static_cast<std::size_t>(length) > kMaxAttributeBytes) {
      source.unreadable_streams.push_back(name.substr(5));
      continue;
    }
    source.entry.streams.push_back({name.substr(5), static_cast<std::uint64_t>(length)});
  }
  return {};
}

Result<std::string> read_link(const std::string& path) {
  std::string target(4096, '\0');
  auto size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) return system_error(path, "cannot read the link");
  target.resize(static_cast<std::size_t>(size));
  return target;
}

}  // namespace

Result<SourceEntry> read_source_entry(const std::string& path) {
  struct statx status {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status) != 0)
    return system_error(path, "cannot stat");
  SourceEntry source;
  auto& entry = source.entry;
  source.inode = status.stx_ino;
  source.links = status.stx_nlink;
  entry.metadata.written_100ns = to_100ns(status.stx_mtime);
  entry.metadata.created_100ns =
      (status.stx_mask & STATX_BTIME) != 0 ? to_100ns(status.stx_btime) : entry.metadata.written_100ns;
  if (S_ISREG(status.stx_mode) && (status.stx_mode & S_IWUSR) == 0)
    entry.metadata.attributes = profile::kAttributeReadOnly;
  if (S_ISDIR(status.stx_mode))
    entry.kind = profile::EntryKind::directory;
  else if (S_ISLNK(status.stx_mode))
    entry.kind = profile::EntryKind::symlink;
  else if (!S_ISREG(status.stx_mode))
    return fail(ErrorCode::unsupported, path + ": neither a file nor a folder nor a link");
  RS_CHECK(read_ntfs_metadata(path, source));
  if (entry.kind == profile::EntryKind::file) entry.size_bytes = status.stx_size;
  if (S_ISLNK(status.stx_mode) && entry.kind != profile::EntryKind::opaque) {
    RS_TRY(entry.link_target, read_link(path));
  }
  if (source.on_ntfs && entry.kind != profile::EntryKind::opaque) RS_CHECK(read_stream_list(path, source));
  return source;
}

Result<Bytes> read_source_stream(const std::string& path, const std::string& stream) {
  RS_TRY(auto value, attribute(path, "user." + stream));
  if (!value) return fail(ErrorCode::not_found, path + ": its stream '" + stream + "' has gone");
  return std::move(*value);
}

}  // namespace roamstead::repository
