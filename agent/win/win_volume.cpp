#include "agent/win/win_volume.h"

#include <sddl.h>
#include <winioctl.h>

#include <set>

#include "agent/core/link_data.h"
#include "agent/win/api/native.h"
#include "agent/win/base/folder_security.h"
#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/base/wine.h"
#include "agent/win/win_handle.h"
#include "agent/win/wine_items.h"
#include "common/profile/path.h"

namespace roamstead::agent {

using extract::ItemIdentity;
using profile::Entry;
using profile::EntryKind;
using win::Handle;
using win::open_in;

namespace {

// Not FILE_ADD_FILE and the like: programs that share a directory for reading only could not open it.
constexpr ACCESS_MASK kDirectoryAccess =
    FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
constexpr ACCESS_MASK kItemAccess = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
constexpr ACCESS_MASK kContentAccess =
    FILE_READ_DATA | FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
constexpr std::uint64_t kRecordMask = 0xFFFF'FFFF'FFFF;
constexpr std::uint64_t kSparseFrom = 64 << 10;  // NTFS gives room back in pieces of this size
constexpr int kDeepest = 1000;

Result<std::uint64_t> file_id(HANDLE item, const std::string& what) {
  RS_TRY(const auto internal,
         win::query_file<win::FileInternalInformation>(item, win::kFileInternalInformation, what));
  return static_cast<std::uint64_t>(internal.index.QuadPart);
}

// One name, as the native calls take it: what would lead elsewhere ("..", "a\b", "a:stream") is refused.
Result<std::wstring> component(std::string_view name) {
  RS_CHECK(profile::check_name(name));
  return win::wide_text(std::string(name));
}

Result<Bytes> parse_security(const std::string& sddl) {
  RS_TRY(const auto text, win::wide_text(sddl));
  PSECURITY_DESCRIPTOR made = nullptr;
  ULONG length = 0;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(text.c_str(), SDDL_REVISION_1, &made, &length) ==
      0)
    return win::windows_error("the security descriptor '" + sddl + "'");
  const auto* bytes = static_cast<const std::byte*>(made);
  Bytes descriptor(bytes, bytes + length);
  ::LocalFree(made);
  return descriptor;
}

void make_sparse(HANDLE file) {  // where it cannot be, the file takes its room
  DWORD count = 0;
  ::DeviceIoControl(file, FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &count, nullptr);
}

Result<void> set_size(HANDLE file, std::uint64_t size_bytes, const std::string& what) {
  if (size_bytes == 0) return {};
  if (size_bytes > kSparseFrom) make_sparse(file);
  FILE_END_OF_FILE_INFO end{};
  end.EndOfFile.QuadPart = static_cast<LONGLONG>(size_bytes);
  if (::SetFileInformationByHandle(file, FileEndOfFileInfo, &end, sizeof end) == 0)
    return win::windows_error("size " + what);
  return {};
}

}  // namespace

Result<std::unique_ptr<WinVolume>> WinVolume::attach(const Options& options) {
  win::enable_privileges();
  std::unique_ptr<WinVolume> volume(new WinVolume());
  volume->options_ = options;
  RS_TRY(const auto drive, win::wide_text(options.drive));
  if (drive.size() != 2 || drive[1] != L':')
    return fail(ErrorCode::invalid_argument, "'" + options.drive + "' is not a drive such as C:");
  win::OpenOptions wanted;
  wanted.access = kDirectoryAccess;
  wanted.options = FILE_DIRECTORY_FILE;
  RS_TRY_CTX(auto root, "the volume " + options.drive, open_in(nullptr, L"\\??\\" + drive + L"\\", wanted));
  if (win::under_wine()) {
    RS_TRY(volume->items_, make_wine_items(root.get(), options.drive));
    volume->scan_ = make_wine_scan();
  } else {
    wchar_t name[MAX_PATH + 1] = L"";
    if (::GetVolumeInformationByHandleW(root.get(), nullptr, 0, nullptr, nullptr, nullptr, name, MAX_PATH) ==
        0)
      return win::windows_error("ask what the volume " + options.drive + " is");
    if (std::wstring_view(name) != L"NTFS")
      return fail(ErrorCode::unsupported, "the volume " + options.drive + " is " + win::narrow_text(name) +
                                              ", not NTFS: profiles need NTFS");
    volume->items_ = make_windows_items(drive);
    volume->scan_ = make_windows_scan();
    if (!options.default_security.empty()) {
      RS_TRY(volume->default_security_, parse_security(options.default_security));
    }
  }
  volume->root_ = std::make_shared<Handle>(std::move(root));
  return volume;
}

// For calls that take whole paths: "\\?\" lifts their limit of 260 characters.
std::string WinVolume::native_path(const std::string& path) const {
  return os::join_path("\\\\?\\" + options_.drive, path);
}

// Every step is one name in an open directory, looked at before the next: a directory that a program replaces
// by a junction in between is either still the one that was opened, or refused.
Result<WinVolume::Directory> WinVolume::open_directory(const std::string& path, bool make) {
  if (path.empty()) return root_;
  const bool own = path.starts_with(options_.agent_root + "/") || path == options_.agent_root;
  if (own) {
    const std::lock_guard lock(mutex_);
    if (kept_ && kept_path_ == path) return kept_;
  }
  auto directory = root_;
  win::OpenOptions wanted;
  wanted.access = kDirectoryAccess;
  wanted.options = FILE_DIRECTORY_FILE;
  wanted.disposition = make ? FILE_OPEN_IF : FILE_OPEN;
  RS_TRY(const auto parts, profile::ProfilePath::parse(path));
  for (const auto part : parts.components()) {
    RS_TRY(const auto name, component(part));
    RS_TRY_CTX(auto next, "the folder " + path, open_in(directory->get(), name, wanted));
    RS_TRY_CTX(const bool link, "the folder " + path, items_->is_link(directory->get(), name, next.get()));
    if (link)
      return fail(ErrorCode::unsupported,
                  "the folder " + path + ": '" + std::string(part) + "' leads elsewhere; it is not followed");
    directory = std::make_shared<Handle>(std::move(next));
  }
  if (own) {
    const std::lock_guard lock(mutex_);
    kept_path_ = path;
    kept_ = directory;
  }
  return directory;
}

Result<void> WinVolume::protect(const std::string& path, const std::string& sddl) {
  RS_TRY(const auto directory, open_directory(path, true));
  win::OpenOptions wanted;
  wanted.access = READ_CONTROL | WRITE_DAC | WRITE_OWNER;
  wanted.options = FILE_DIRECTORY_FILE;
  RS_TRY_CTX(const auto again, path, open_in(directory->get(), L"", wanted));
  return win::protect_folder(again.get(), sddl, path);
}

Result<WinVolume::Place> WinVolume::find_place(const std::string& path) {
  const auto slash = path.rfind('/');
  Place place;
  RS_TRY(place.directory, open_directory(slash == std::string::npos ? "" : path.substr(0, slash), false));
  RS_TRY_CTX(place.name, path, component(std::string_view(path).substr(slash + 1)));  // npos + 1 is 0
  return place;
}

void WinVolume::forget_directories() {
  const std::lock_guard lock(mutex_);
  kept_.reset();
}

Result<std::unique_ptr<VolumeHandle>> WinVolume::open(const std::string& path, const std::string& stream) {
  Handle item;
  win::OpenOptions wanted;
  wanted.access = kItemAccess;
  Place place{root_, L""};
  if (path.empty()) {
    RS_TRY(item, open_in(root_->get(), L"", wanted));
  } else {
    RS_TRY(place, find_place(path));
    RS_TRY_CTX(item, path, open_in(place.directory->get(), place.name, wanted));
    RS_TRY(const bool link, items_->is_link(place.directory->get(), place.name, item.get()));
    if (link) return fail(ErrorCode::unsupported, path + " is neither file nor directory");
  }
  RS_TRY(const auto standard,
         win::query_file<win::FileStandardInformation>(item.get(), win::kFileStandardInformation, path));
  RS_TRY(const auto id, file_id(item.get(), path));
  const bool directory = standard.directory != 0;
  auto name = place.name;
  if (stream.empty()) {
    wanted.access = directory ? kDirectoryAccess : kContentAccess;
    wanted.options = directory ? FILE_DIRECTORY_FILE : FILE_NON_DIRECTORY_FILE;
  } else {
    RS_TRY_CTX(const auto wide, path, component(stream));
    wanted.access = kContentAccess;
    name += L":" + wide;
  }
  auto content = open_in(place.directory->get(), name, wanted);
  if (!content && content.error().code == ErrorCode::denied && !directory) {
    // Windows lets nobody write to a read-only file; a handle that has been given stays good.
    RS_TRY(auto basic,
           win::query_file<win::FileBasicInformation>(item.get(), win::kFileBasicInformation, path));
    if ((basic.attributes & FILE_ATTRIBUTE_READONLY) == 0) return fail(content.error());
    RS_TRY(const auto times, items_->times(item.get(), path));
    RS_CHECK(items_->set_metadata(
        item.get(),
        {basic.attributes & ~FILE_ATTRIBUTE_READONLY, times.created_100ns, times.written_100ns, {}}, path));
    content = open_in(place.directory->get(), name, wanted);
    RS_CHECK(items_->set_metadata(item.get(),
                                  {basic.attributes, times.created_100ns, times.written_100ns, {}}, path));
  }
  if (!content) return fail(std::move(content).error().with(path));
  if (stream.empty()) {
    RS_TRY(const auto same, file_id(content->get(), path));
    if (same != id) return fail(ErrorCode::busy, path + " was replaced while it was opened");
    item.close();
  }
  return std::unique_ptr<VolumeHandle>(
      std::make_unique<WinHandle>(std::move(*content), std::move(item), stream, id, *items_));
}

Result<VolumeItem> WinVolume::stat_place(HANDLE directory, const std::wstring& name) {
  VolumeItem item;
  RS_TRY(const bool link, items_->describe_link(directory, name, item));
  if (link) return item;
  item.name = win::narrow_text(name);
  win::OpenOptions wanted;
  RS_TRY(const auto opened, open_in(directory, name, wanted));
  RS_TRY(const auto standard, win::query_file<win::FileStandardInformation>(
                                  opened.get(), win::kFileStandardInformation, item.name));
  RS_TRY(const auto id, file_id(opened.get(), item.name));
  RS_TRY(const bool junction, items_->is_link(directory, name, opened.get()));
  item.record = id & kRecordMask;
  item.directory = standard.directory != 0 && !junction;
  item.size_bytes = item.directory ? 0 : static_cast<std::uint64_t>(standard.end_of_file.QuadPart);
  return item;
}

Result<VolumeItem> WinVolume::stat(const std::string& path) {
  if (path.empty()) return stat_place(root_->get(), L"");
  RS_TRY(const auto place, find_place(path));
  return stat_place(place.directory->get(), place.name);
}

Result<VolumeItem> WinVolume::stat_child(VolumeHandle& directory, const std::string& name) {
  RS_TRY(const auto wide, component(name));
  return stat_place(static_cast<WinHandle&>(directory).handle(), wide);
}

Result<std::vector<VolumeItem>> WinVolume::list(const std::string& path) {
  RS_TRY(const auto directory, open_directory(path, false));
  // Opened again: an open directory remembers how far it was read.
  win::OpenOptions wanted;
  wanted.access = kDirectoryAccess;
  wanted.options = FILE_DIRECTORY_FILE;
  RS_TRY_CTX(const auto own, path, open_in(directory->get(), L"", wanted));
  return list_open(own.get(), path);
}

Result<std::vector<VolumeItem>> WinVolume::list_open(HANDLE directory, const std::string& what) {
  RS_TRY(auto items, items_->list_links(directory));
  std::set<std::string> links;
  for (const auto& link : items) links.insert(link.name);
  RS_CHECK(
      win::read_directory(directory, what, [&](const auto& entry, const std::wstring& name) -> Result<void> {
        auto text = win::narrow_text(name);
        if (links.contains(text)) return {};
        // A reparse point's tag stands in the place of the extended attributes' size.
        const bool surrogate =
            (entry.attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 && win::is_name_surrogate(entry.ea_bytes);
        const bool is_directory = (entry.attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 && !surrogate;
        items.push_back({std::move(text), static_cast<std::uint64_t>(entry.file_id.QuadPart) & kRecordMask,
                         is_directory,
                         is_directory ? 0 : static_cast<std::uint64_t>(entry.end_of_file.QuadPart)});
        return {};
      }));
  return items;
}

Result<void> WinVolume::make_directories(const std::string& path) {
  RS_TRY(const auto made, open_directory(path, true));
  (void)made;
  return {};
}

Result<Handle> WinVolume::make_item(const Place& place, const Entry& entry, const std::string& path) {
  const bool directory = entry.kind == EntryKind::directory || entry.kind == EntryKind::junction;
  win::OpenOptions wanted;
  wanted.access = (directory ? kDirectoryAccess | FILE_ADD_FILE : kContentAccess) | WRITE_DAC | WRITE_OWNER |
                  FILE_READ_EA | FILE_WRITE_EA | DELETE;
  wanted.disposition = FILE_CREATE;
  wanted.options = directory ? FILE_DIRECTORY_FILE : FILE_NON_DIRECTORY_FILE;
  wanted.attributes = directory ? FILE_ATTRIBUTE_DIRECTORY : FILE_ATTRIBUTE_NORMAL;
  RS_TRY_CTX(auto item, path, open_in(place.directory->get(), place.name, wanted));
  if (entry.kind == EntryKind::file) RS_CHECK(set_size(item.get(), entry.size_bytes, path));
  for (const auto& stream : entry.streams) {
    RS_TRY_CTX(const auto name, path, component(stream.name));
    wanted.access = kContentAccess;
    wanted.disposition = FILE_OPEN_IF;
    wanted.options = FILE_NON_DIRECTORY_FILE;
    wanted.attributes = FILE_ATTRIBUTE_NORMAL;
    const auto full = path + ":" + stream.name;
    RS_TRY_CTX(const auto opened, full, open_in(place.directory->get(), place.name + L":" + name, wanted));
    RS_CHECK(set_size(opened.get(), stream.size_bytes, full));
  }
  return item;
}

Result<ItemIdentity> WinVolume::stage(const std::string& path, const Entry& entry) {
  RS_TRY(const auto place, find_place(path));
  const bool link = entry.kind == EntryKind::junction || entry.kind == EntryKind::symlink;
  RS_TRY(const auto item, make_item(place, entry, path));
  auto metadata = entry.metadata;
  if (metadata.security.empty()) metadata.security = default_security_;
  RS_CHECK(items_->set_metadata(item.get(), metadata, path));
  RS_TRY(const auto id, file_id(item.get(), path));
  RS_TRY(const auto times, items_->times(item.get(), path));
  if (link) {
    RS_TRY(const auto data, link_data(entry, options_.profile_root, options_.drive));
    RS_CHECK(items_->make_link(item.get(), data, path));
  }
  return ItemIdentity{id & kRecordMask, static_cast<std::uint16_t>(id >> 48), times.created_100ns};
}

Result<void> WinVolume::rename_place(const Place& from, HANDLE directory, const std::string& name) {
  RS_TRY(const auto wide, component(name));
  RS_TRY(const bool done, items_->rename_item(from.directory->get(), from.name, directory, wide));
  if (done) return {};
  win::OpenOptions wanted;
  wanted.access = DELETE | FILE_READ_ATTRIBUTES;
  RS_TRY(const auto item, open_in(from.directory->get(), from.name, wanted));
  const auto name_bytes = wide.size() * sizeof(wchar_t);
  std::vector<std::uint64_t> buffer(
      (sizeof(win::FileRenameInformation) + name_bytes) / sizeof(std::uint64_t) + 1);
  auto& rename = *reinterpret_cast<win::FileRenameInformation*>(buffer.data());
  rename.replace = FALSE;
  rename.root = directory;
  rename.name_bytes = static_cast<ULONG>(name_bytes);
  std::copy(wide.begin(), wide.end(), rename.name);
  IO_STATUS_BLOCK io{};
  const auto status = ::NtSetInformationFile(item.get(), &io, &rename,
                                             static_cast<ULONG>(buffer.size() * sizeof(std::uint64_t)),
                                             win::information(win::kFileRenameInformation));
  const auto what = "rename " + win::narrow_text(from.name) + " to " + name;
  if (status == win::kStatusNameCollision) return fail(ErrorCode::exists, what + ": the name is taken");
  if (status < 0) return win::status_error(what, status);
  return {};
}

Result<void> WinVolume::publish(const std::string& staged, VolumeHandle& directory, const std::string& name) {
  RS_TRY(const auto place, find_place(staged));
  return rename_place(place, static_cast<WinHandle&>(directory).handle(), name);
}

Result<void> WinVolume::rename(const std::string& from, const std::string& to) {
  forget_directories();
  RS_TRY(const auto source, find_place(from));
  RS_TRY(const auto target, find_place(to));
  forget_directories();
  return rename_place(source, target.directory->get(), win::narrow_text(target.name));
}

Result<bool> WinVolume::remove_below(const GoOn& go_on, HANDLE directory, const std::wstring& name,
                                     int depth) {
  if (!go_on()) return false;
  const auto what = win::narrow_text(name);
  if (depth > kDeepest) return fail(ErrorCode::unsupported, what + " lies too deep to be removed");
  RS_TRY(const bool done, items_->remove_link(directory, name));
  if (done) return true;
  win::OpenOptions wanted;
  wanted.access = DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | FILE_LIST_DIRECTORY;
  auto opened = open_in(directory, name, wanted);
  if (!opened && opened.error().code == ErrorCode::not_found) return true;
  RS_TRY(const auto item, std::move(opened));
  RS_TRY(const auto tag, win::query_file<win::FileAttributeTagInformation>(
                             item.get(), win::kFileAttributeTagInformation, what));
  const bool descend =
      (tag.attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 &&
      ((tag.attributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0 || !win::is_name_surrogate(tag.reparse_tag));
  if (descend) {
    RS_TRY(const auto children, list_open(item.get(), what));
    for (const auto& child : children) {
      RS_TRY(const auto wide, win::wide_text(child.name));
      RS_TRY(const bool gone, remove_below(go_on, item.get(), wide, depth + 1));
      if (!gone) return false;
    }
  }
  IO_STATUS_BLOCK io{};
  win::FileDispositionInformationEx at_once{win::kDispositionDelete | win::kDispositionPosix |
                                            win::kDispositionIgnoreReadOnly};
  auto status = ::NtSetInformationFile(item.get(), &io, &at_once, sizeof at_once,
                                       win::information(win::kFileDispositionInformationEx));
  if (status >= 0) return true;
  // Before Windows 10, version 1809.
  if ((tag.attributes & FILE_ATTRIBUTE_READONLY) != 0)
    RS_CHECK(items_->set_metadata(item.get(), {FILE_ATTRIBUTE_NORMAL, 0, 0, {}}, what));
  BOOLEAN remove = TRUE;
  status = ::NtSetInformationFile(item.get(), &io, &remove, sizeof remove,
                                  win::information(win::kFileDispositionInformation));
  if (status < 0) return win::status_error("remove " + what, status);
  return true;
}

Result<bool> WinVolume::remove_tree_while(const GoOn& go_on, const std::string& path) {
  forget_directories();
  auto place = find_place(path);
  if (!place) return place.error().code == ErrorCode::not_found ? Result<bool>(true) : fail(place.error());
  auto removed = remove_below(go_on, place->directory->get(), place->name, 0);
  forget_directories();
  return removed;
}

Result<void> WinVolume::sync() { return items_->sync(root_->get()); }

}  // namespace roamstead::agent
