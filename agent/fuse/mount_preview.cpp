// What programs are shown of directories that are not populated yet, and how it becomes real when they change
// something.
//
// A node is only shown as long as its directory is not populated, and no program changes anything in a
// directory that is not: so what is shown is what the volume would show. What was shown keeps its node and
// its number when it becomes real.
#include <fcntl.h>

#include <cerrno>

#include "agent/fuse/profile_mount_impl.h"
#include "common/base/file_time.h"
#include "common/base/log.h"

namespace roamstead::agent {

using profile::Entry;
using profile::EntryKind;
using profile::ProfilePath;

namespace {

// Hives, links and opaque entries are more than a name, a size and times: they are made on the volume first.
bool can_be_shown(const Entry& entry) {
  return entry.kind == EntryKind::file || entry.kind == EntryKind::directory;
}

int error_of_preview(const Error& error) {
  log_warning("{}", error.to_string());
  return errno_of(error);
}

}  // namespace

bool ProfileMount::Impl::is_real(NodeId node) {
  auto key = nodes.key(node);
  if (!key || !key->is_preview()) return true;
  auto parent = nodes.parent(node);
  if (!parent) return true;  // without a name: whoever asks finds that out
  if (!is_real(*parent)) return false;
  auto parent_key = nodes.key(*parent);
  if (parent_key && !loader.is_populated(parent_key->record)) return false;
  std::shared_lock lock(names_mutex);
  struct stat status {};
  auto path = nodes.path(node);
  if (path && ::fstatat(volume.root(), path->c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    nodes.settle(node, status.st_ino);
  return true;
}

int ProfileMount::Impl::settle(NodeId node) {
  if (is_real(node)) return 0;
  auto parent = nodes.parent(node);
  if (!parent) return ESTALE;
  if (int error = populate(*parent)) return error;
  return is_real(node) ? 0 : ESTALE;
}

std::optional<ProfilePath> ProfileMount::Impl::preview_path(NodeId directory) {
  if (loader.preview() == nullptr) return std::nullopt;
  (void)is_real(directory);  // and all above it
  auto place = nodes.place(directory);
  if (!place) return std::nullopt;
  auto path = loader.unpopulated_path(place->record);
  for (const auto& name : place->names)
    if (path) path = path->child(name);
  return path;
}

int ProfileMount::Impl::preview_entry(NodeId node, ProfilePath& path, Entry& entry) {
  auto parent = nodes.parent(node);
  auto place = nodes.place(node);
  if (!parent || !place || place->names.empty()) return EAGAIN;
  auto directory = preview_path(*parent);
  if (!directory) return EAGAIN;
  auto list = loader.preview_list(*directory);
  if (!list) return error_of_preview(list.error());
  const auto* found = (*list)->find(place->names.back());
  if (found == nullptr) return EAGAIN;
  path = directory->child(place->names.back());
  entry = *found;
  return 0;
}

void ProfileMount::Impl::preview_status(NodeId node, const Entry& entry, struct stat& status) const {
  status = root_status;
  status.st_ino = nodes.shown_record(node);
  status.st_nlink = 1;
  if (!entry.is_directory()) {
    status.st_mode = S_IFREG | (root_status.st_mode & 0777);
    status.st_size = static_cast<off_t>(entry.size_bytes);
    status.st_blocks = static_cast<blkcnt_t>((entry.size_bytes + 511) / 512);
  }
  const auto since = static_cast<std::int64_t>(entry.metadata.written_100ns - kUnixEpoch_100ns);
  auto seconds = since / 10'000'000;
  if (since % 10'000'000 < 0) --seconds;
  status.st_mtim = {seconds, (since - seconds * 10'000'000) * 100};
  status.st_atim = status.st_ctim = status.st_mtim;
}

int ProfileMount::Impl::look_up(NodeId parent, const std::string& name, fuse_entry_param& entry) {
  if (auto directory = preview_path(parent); directory && stream_of(name).empty()) {
    auto list = loader.preview_list(*directory);
    if (!list) return error_of_preview(list.error());
    const auto* found = (*list)->find(name);
    // A hive's logs come with it, and no list names them.
    const auto text = directory->is_root() ? name : directory->text() + "/" + name;
    if (found == nullptr && profile::classify_hive_file(text) == profile::HiveFile::none) return ENOENT;
    if (found != nullptr && can_be_shown(*found)) {
      entry.ino = nodes.remember_preview(parent, name);
      preview_status(entry.ino, *found, entry.attr);
      set_timeouts(entry, false);
      return 0;
    }
  }
  if (int error = populate(parent)) return error;
  return reply_entry_for(parent, name, entry);
}

int ProfileMount::Impl::list(NodeId directory, std::vector<OpenDirectory::Entry>& entries) {
  if (auto shown = preview_path(directory)) {
    auto list = loader.preview_list(*shown);
    if (!list) return error_of_preview(list.error());
    for (const char* name : {".", ".."}) entries.push_back({name, kFirstPreviewRecord, S_IFDIR});
    for (const auto& [name, entry] : (*list)->entries()) {
      const bool link = entry.kind == EntryKind::junction || entry.kind == EntryKind::symlink;
      entries.push_back({name, kFirstPreviewRecord,
                         static_cast<mode_t>(entry.is_directory() ? S_IFDIR
                                             : link               ? S_IFLNK
                                                                  : S_IFREG)});
    }
    return 0;
  }
  if (int error = populate(directory)) return error;
  std::shared_lock lock(names_mutex);
  auto path = nodes.path(directory);
  return path ? list_directory(volume.root(), *path, entries) : ESTALE;
}

OpenFile* ProfileMount::Impl::open_preview(NodeId node) {
  ProfilePath path;
  Entry entry;
  if (is_real(node) || preview_entry(node, path, entry) != 0 || entry.kind != EntryKind::file) return nullptr;
  auto& file = add_file(node, nullptr);
  file.base_path = std::move(path);
  file.size_bytes = entry.size_bytes;
  return &file;
}

int ProfileMount::Impl::handle_of(OpenFile& file, PosixHandle*& handle) {
  std::lock_guard lock(file.opening);
  if (!file.handle)
    if (int error = open_node(file.node, file.handle)) return error;
  handle = file.handle.get();
  return 0;
}

bool ProfileMount::Impl::is_shown(OpenFile& file) {
  {
    std::lock_guard lock(file.opening);
    if (file.handle) return false;
  }
  return !is_real(file.node);
}

}  // namespace roamstead::agent
