#include "agent/library/library_profile_volume.h"

namespace roamstead::agent {

using ntfs3g::FileReference;
using ntfs3g::ItemKind;
using profile::Entry;
using profile::EntryKind;

namespace {

constexpr int kMaxDepth = 1000;

VolumeItem to_item(const std::string& name, const ntfs3g::ItemInfo& info) {
  return {name, info.reference.record, info.directory, info.size_bytes};
}

FileReference reference_of(VolumeHandle& handle) { return static_cast<LibraryHandle&>(handle).reference(); }

}  // namespace

SplitPath split_path(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Result<std::size_t> LibraryHandle::read(std::uint64_t offset, MutableByteView out) {
  return volume_.read(reference_, stream_, offset, out);
}
Result<void> LibraryHandle::write(std::uint64_t offset, ByteView data) {
  return volume_.write(reference_, stream_, offset, data);
}
Result<void> LibraryHandle::truncate(std::uint64_t size_bytes) {
  return volume_.truncate(reference_, stream_, size_bytes);
}
Result<std::uint64_t> LibraryHandle::size() { return volume_.size(reference_, stream_); }
Result<void> LibraryHandle::sync() { return volume_.sync(); }

Result<ItemTimes> LibraryHandle::times() {
  RS_TRY(const auto info, volume_.stat(reference_));
  return ItemTimes{info.created_100ns, info.written_100ns};
}
Result<void> LibraryHandle::set_times(const ItemTimes& times) {
  return volume_.set_times(reference_, times.created_100ns, times.written_100ns);
}

Result<std::unique_ptr<VolumeHandle>> LibraryProfileVolume::open(const std::string& path,
                                                                 const std::string& stream) {
  RS_TRY(const auto reference, volume_.find(path));
  auto handle = std::make_unique<LibraryHandle>(volume_, reference, stream);
  RS_TRY_CTX([[maybe_unused]] const auto size, path, handle->size());  // is the stream there?
  return std::unique_ptr<VolumeHandle>(std::move(handle));
}

Result<VolumeItem> LibraryProfileVolume::stat(const std::string& path) {
  RS_TRY(const auto reference, volume_.find(path));
  RS_TRY_CTX(const auto info, path, volume_.stat(reference));
  return to_item(split_path(path).name, info);
}

Result<VolumeItem> LibraryProfileVolume::stat_child(VolumeHandle& directory, const std::string& name) {
  RS_TRY(const auto reference, volume_.find_child(reference_of(directory), name));
  RS_TRY_CTX(const auto info, name, volume_.stat(reference));
  return to_item(name, info);
}

Result<std::vector<VolumeItem>> LibraryProfileVolume::list(const std::string& path) {
  RS_TRY(const auto directory, volume_.find(path));
  RS_TRY_CTX(const auto names, path, volume_.list(directory));
  std::vector<VolumeItem> items;
  items.reserve(names.size());
  for (auto& name : names) {
    auto info = volume_.stat(name.reference);
    if (info) items.push_back(to_item(name.name, *info));
    if (!info && info.error().code != ErrorCode::not_found) return fail(std::move(info).error().with(path));
  }
  return items;
}

Result<void> LibraryProfileVolume::make_directories(const std::string& path) {
  RS_CHECK(volume_.make_directories(path));
  return {};
}

Result<void> LibraryProfileVolume::set_metadata(FileReference item, const Entry& entry) {
  auto& metadata = entry.metadata;
  RS_CHECK(volume_.set_attributes(item, metadata.attributes));
  if (!metadata.security.empty()) RS_CHECK(volume_.set_security(item, metadata.security));
  if (metadata.written_100ns == 0) return {};
  return volume_.set_times(item, metadata.created_100ns, metadata.written_100ns);
}

Result<extract::ItemIdentity> LibraryProfileVolume::stage(const std::string& path, const Entry& entry) {
  const auto [parent, name] = split_path(path);
  RS_TRY(const auto directory, volume_.find(parent));
  const bool is_directory = entry.kind == EntryKind::directory;
  RS_TRY(const auto item,
         volume_.create(directory, name, is_directory ? ItemKind::directory : ItemKind::file));
  if (entry.kind == EntryKind::file && entry.size_bytes != 0)
    RS_CHECK(volume_.truncate(item, "", entry.size_bytes));
  for (auto& stream : entry.streams) {
    RS_CHECK_CTX(path, volume_.make_stream(item, stream.name));
    if (stream.size_bytes != 0) RS_CHECK_CTX(path, volume_.truncate(item, stream.name, stream.size_bytes));
  }
  RS_CHECK_CTX(path, set_metadata(item, entry));
  RS_TRY(const auto info, volume_.stat(item));
  return extract::ItemIdentity{item.record, item.sequence, info.created_100ns};
}

Result<void> LibraryProfileVolume::publish(const std::string& staged, VolumeHandle& directory,
                                           const std::string& name) {
  const auto from = split_path(staged);
  RS_TRY(const auto from_directory, volume_.find(from.directory));
  return volume_.rename(from_directory, from.name, reference_of(directory), name);
}

Result<void> LibraryProfileVolume::rename(const std::string& from, const std::string& to) {
  const auto source = split_path(from), target = split_path(to);
  RS_TRY(const auto from_directory, volume_.find(source.directory));
  RS_TRY(const auto to_directory, volume_.find(target.directory));
  return volume_.rename(from_directory, source.name, to_directory, target.name);
}

Result<bool> LibraryProfileVolume::remove_below(const GoOn& go_on, FileReference directory,
                                                const std::string& name, int depth) {
  if (!go_on()) return false;
  if (depth > kMaxDepth) return fail(ErrorCode::unsupported, name + " lies too deep to be removed");
  RS_TRY(const auto item, volume_.find_child(directory, name));
  RS_TRY(const auto info, volume_.stat(item));
  if (info.directory) {
    RS_TRY(const auto children, volume_.list(item));
    for (auto& child : children) {
      RS_TRY(const bool gone, remove_below(go_on, item, child.name, depth + 1));
      if (!gone) return false;
    }
  }
  RS_CHECK(volume_.remove(directory, name));
  return true;
}

Result<bool> LibraryProfileVolume::remove_tree_while(const GoOn& go_on, const std::string& path) {
  const auto [parent, name] = split_path(path);
  auto directory = volume_.find(parent);
  auto gone = directory ? remove_below(go_on, *directory, name, 0) : fail(std::move(directory).error());
  if (!gone && gone.error().code == ErrorCode::not_found) return true;
  return gone;
}

}  // namespace roamstead::agent
