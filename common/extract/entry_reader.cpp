#include "common/extract/entry_reader.h"

#include <algorithm>
#include <array>

#include "common/base/text.h"
#include "common/ntfs/reparse.h"
#include "common/profile/path.h"

namespace roamstead::extract {
namespace {

constexpr std::uint32_t kNameSurrogate = 0x20000000;  // bit of a reparse tag: stands for another place
constexpr std::uint32_t kSymlinkRelative = 1;
constexpr std::uint16_t kDaclPresent = 0x0004;
constexpr std::uint8_t kInheritedAce = 0x10;
constexpr std::string_view kNtPrefix = "/\?\?/";  // with backslashes turned

// What libntfs-3g gives a file it creates when nobody named an owner: owner and group Administrators,
// everything allowed to Everyone. Nobody decided that; it stands for "as the directory has it".
constexpr std::array<std::uint8_t, 80> kStandInDescriptor = {
    0x01, 0x00, 0x04, 0x80, 0x14, 0,    0,    0,    0x24, 0,    0, 0, 0,    0,    0, 0,
    0x34, 0,    0,    0,                                                                 // header
    0x01, 0x02, 0,    0,    0,    0,    0,    0x05, 0x20, 0,    0, 0, 0x20, 0x02, 0, 0,  // owner S-1-5-32-544
    0x01, 0x02, 0,    0,    0,    0,    0,    0x05, 0x20, 0,    0, 0, 0x20, 0x02, 0, 0,  // group S-1-5-32-544
    0x02, 0x00, 0x1c, 0x00, 0x01, 0x00, 0,    0,  // access list, one entry
    0x00, 0x03, 0x14, 0x00, 0xff, 0x01, 0x1f, 0x00, 0x01, 0x01, 0, 0, 0,    0,    0, 0x01,
    0,    0,    0,    0};  // S-1-1-0

std::string forward_slashes(std::string text) {
  std::replace(text.begin(), text.end(), '\\', '/');
  return text;
}

// "a/./b/../c" made plain; nullopt when it leaves the profile.
std::optional<std::string> normalise(const std::string& base, const std::string& relative) {
  std::vector<std::string> parts;
  const std::string whole = base.empty() ? relative : base + "/" + relative;
  for (std::size_t start = 0; start <= whole.size();) {
    auto slash = std::min(whole.find('/', start), whole.size());
    auto part = whole.substr(start, slash - start);
    start = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(std::move(part));
    } else if (parts.empty()) {
      return std::nullopt;
    } else {
      parts.pop_back();
    }
  }
  std::string result;
  for (const auto& part : parts) result += (result.empty() ? "" : "/") + part;
  return result;
}

// The substitute name of a mount point or symbolic link, and whether it is relative.
struct LinkText {
  std::string text;
  bool relative = false;
};
Result<LinkText> read_link(std::uint32_t tag, ByteView data) {
  ByteReader reader(data);
  RS_TRY(auto offset, reader.le<std::uint16_t>());
  RS_TRY(auto length, reader.le<std::uint16_t>());
  RS_TRY([[maybe_unused]] auto print_name, reader.le<std::uint32_t>());
  LinkText link;
  if (tag == kTagSymlink) {
    RS_TRY(auto flags, reader.le<std::uint32_t>());
    link.relative = (flags & kSymlinkRelative) != 0;
  }
  RS_TRY([[maybe_unused]] auto before, reader.take(offset));
  RS_TRY(auto name, reader.take(length));
  link.text = forward_slashes(utf16le_to_wtf8(name));
  return link;
}

// What follows `root` in `path`, without regard to case.
std::optional<std::string> below(const std::string& path, const std::string& root) {
  if (path.size() < root.size() || !same_name(std::string_view(path).substr(0, root.size()), root))
    return std::nullopt;
  if (path.size() == root.size()) return std::string();
  if (root.empty()) return path;
  if (path[root.size()] != '/') return std::nullopt;
  return path.substr(root.size() + 1);
}

Result<Bytes> read_security(const ntfs::Volume& volume, const ntfs::FileRecord& file, const ItemState* item) {
  Bytes security;
  if (!file.own_security_descriptor.empty()) {
    if (!is_stand_in(file.own_security_descriptor)) security = file.own_security_descriptor;
  } else if (file.security_id != 0) {
    RS_TRY(security, volume.security_descriptor(file.security_id));
  }
  // An item published as inheriting goes on inheriting until it gets an entry of its own.
  if (item != nullptr && item->entry.metadata.security.empty() && !has_own_access_entries(security))
    return Bytes();
  return security;
}

Result<void> read_streams(const ntfs::FileRecord& file, profile::Entry& entry) {
  for (const auto& stream : file.streams) {
    if (stream.name.empty()) {
      if (entry.kind == profile::EntryKind::file) entry.size_bytes = stream.size_bytes;
      continue;
    }
    RS_CHECK_CTX("alternate stream", profile::check_name(stream.name));
    entry.streams.push_back({stream.name, stream.size_bytes});
  }
  std::sort(entry.streams.begin(), entry.streams.end(),
            [](const auto& a, const auto& b) { return compare_names(a.name, b.name) < 0; });
  return {};
}

}  // namespace

bool is_stand_in(ByteView descriptor) {
  const auto stand_in = std::as_bytes(std::span(kStandInDescriptor));
  return std::equal(descriptor.begin(), descriptor.end(), stand_in.begin(), stand_in.end());
}

std::optional<std::string> blocked_reason(const ntfs::FileRecord& file) {
  if (file.reparse_tag == kTagWof) return "unsupported: compressed by the Windows overlay filter (WOF)";
  for (const auto& stream : file.streams)
    if (stream.encrypted) return "unsupported: encrypted (EFS)";
  return std::nullopt;
}

bool is_placeholder(const ntfs::FileRecord& file, const ItemState* item) {
  return !file.directory && file.reparse_tag && ntfs::is_cloud_tag(*file.reparse_tag) && item != nullptr &&
         item->entry.kind == profile::EntryKind::file;
}

bool is_dehydrated(const ntfs::FileRecord& file, const ItemState* item) {
  return is_placeholder(file, item) && (file.attributes & ntfs::kRecallOnDataAccess) != 0;
}

bool has_own_access_entries(ByteView descriptor) {
  if (descriptor.empty()) return false;
  if (descriptor.size() < 20) return true;
  const auto control = load_le<std::uint16_t>(descriptor, 2);
  const auto dacl_at = load_le<std::uint32_t>(descriptor, 16);
  if ((control & kDaclPresent) == 0) return false;
  if (dacl_at == 0) return true;  // a null DACL: everything is allowed
  if (dacl_at > descriptor.size() || descriptor.size() - dacl_at < 8) return true;
  const auto dacl = descriptor.subspan(dacl_at);
  const auto count = load_le<std::uint16_t>(dacl, 4);
  std::size_t at = 8;
  for (std::uint16_t i = 0; i < count; ++i) {
    if (dacl.size() - at < 4) return true;
    if ((std::to_integer<std::uint8_t>(dacl[at + 1]) & kInheritedAce) == 0) return true;
    const auto size = load_le<std::uint16_t>(dacl, at + 2);
    if (size < 4 || size > dacl.size() - at) return true;
    at += size;
  }
  return false;
}

std::optional<std::string> link_target(std::uint32_t tag, ByteView reparse_data,
                                       const std::string& profile_root, const std::string& path) {
  auto link = read_link(tag, reparse_data);
  if (!link) return std::nullopt;
  std::optional<std::string> target;
  if (link->relative) {
    const auto slash = path.rfind('/');
    target = normalise(slash == std::string::npos ? "" : path.substr(0, slash), link->text);
  } else {
    // An NT path such as \??\C:\Users\alice: the drive letter is the desktop's business, the rest must lie
    // below the profile.
    auto text = link->text.rfind(kNtPrefix, 0) == 0 ? link->text.substr(kNtPrefix.size()) : link->text;
    if (text.size() < 3 || text[1] != ':' || text[2] != '/') return std::nullopt;
    auto plain = normalise("", text.substr(3));
    if (plain) target = below(*plain, forward_slashes(profile_root));
  }
  if (!target || !profile::ProfilePath::parse(*target)) return std::nullopt;
  return target;
}

Result<profile::Entry> read_entry(const ntfs::Volume& volume, const ntfs::FileRecord& file,
                                  const std::string& profile_root, const std::string& path,
                                  const ItemState* item) {
  profile::Entry entry;
  entry.metadata.attributes = file.attributes & profile::kRoamingAttributes;
  entry.metadata.created_100ns = file.created_100ns;
  entry.metadata.written_100ns = file.written_100ns;
  RS_TRY_CTX(entry.metadata.security, "security descriptor", read_security(volume, file, item));
  entry.kind = file.directory ? profile::EntryKind::directory : profile::EntryKind::file;
  if (is_placeholder(file, item)) {
    // As if it had no reparse point.
  } else if (file.reparse_tag) {
    const auto tag = *file.reparse_tag;
    if (tag == kTagMountPoint || tag == kTagSymlink) {
      if (auto target = link_target(tag, file.reparse_data, profile_root, path)) {
        entry.kind = tag == kTagMountPoint ? profile::EntryKind::junction : profile::EntryKind::symlink;
        entry.link_target = *target;
        return entry;
      }
    }
    // A directory that stands for itself (a cloud folder) keeps its children and so stays one.
    if (!file.directory || (tag & kNameSurrogate) != 0) {
      entry.kind = profile::EntryKind::opaque;
      entry.reparse_tag = tag;
      return entry;
    }
  } else if (item != nullptr && item->entry.kind == profile::EntryKind::opaque) {
    // Published by its metadata only: an empty file stands for it until somebody writes there.
    const bool empty = std::all_of(file.streams.begin(), file.streams.end(), [](const auto& stream) {
      return stream.name.empty() && stream.size_bytes == 0;
    });
    if (empty) {
      entry.kind = item->entry.kind;
      entry.reparse_tag = item->entry.reparse_tag;
      return entry;
    }
  }
  RS_CHECK(read_streams(file, entry));
  return entry;
}

bool same_entry(const profile::Entry& old_entry, const profile::Entry& new_entry) {
  if (old_entry.kind == profile::EntryKind::registry && new_entry.kind == profile::EntryKind::registry)
    return true;
  auto expected = old_entry;
  if (new_entry.is_directory()) expected.metadata.written_100ns = new_entry.metadata.written_100ns;
  // File systems set it themselves: with every write to a file, ntfs-3g also on a directory that gets
  // children.
  expected.metadata.attributes |= new_entry.metadata.attributes & profile::kAttributeArchive;
  return expected == new_entry;
}

}  // namespace roamstead::extract
