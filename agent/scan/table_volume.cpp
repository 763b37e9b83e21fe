#include "agent/scan/table_volume.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::agent {
namespace {

constexpr std::uint64_t kVolumeBytes = std::uint64_t{1} << 44;  // a bound for sizes, not a size
constexpr std::size_t kMostLevelsStored = 2048;

bool is_below(const std::string& path, const std::string& root) {
  return path.size() > root.size() && path[root.size()] == '/' &&
         same_name(std::string_view(path).substr(0, root.size()), root);
}

}  // namespace

TableVolume::TableVolume(const SavedTree& tree, os::FileSystem& files, std::string spool,
                         std::string profile_root, const ntfs::FileReference& root,
                         std::vector<CopiedFile> copies)
    : tree_(tree),
      files_(files),
      spool_(std::move(spool)),
      profile_root_(std::move(profile_root)),
      root_(root),
      copies_(std::move(copies)) {
  info_.cluster_bytes = extract::kTagBlockBytes;
  info_.record_bytes = 1024;
  info_.volume_bytes = kVolumeBytes;
}

const CopiedFile* TableVolume::copy_of(std::uint64_t record) const {
  const auto found =
      std::find_if(copies_.begin(), copies_.end(), [&](const auto& copy) { return copy.record == record; });
  return found == copies_.end() ? nullptr : &*found;
}

ntfs::FileRecord TableVolume::record_of(const CopiedFile& copy) const {
  ntfs::FileRecord file;
  file.reference = {copy.record, copy.sequence};
  file.written_100ns = copy.written_100ns;
  file.streams.push_back(scanned_stream(copy.record, "", copy.size_bytes, true));
  return file;
}

Result<Bytes> TableVolume::raw_record(std::uint64_t number) const {
  return fail(ErrorCode::unsupported, "record " + std::to_string(number) + ": not on a volume");
}

Result<std::uint64_t> TableVolume::base_record(std::uint64_t number) const {
  RS_TRY(const auto file, record(number));
  return file.reference.record;
}

Result<void> TableVolume::scan(
    const std::function<bool(std::uint64_t, Result<ntfs::FileRecord>)>& visit) const {
  RS_TRY(const auto known, tree_.fingerprints());
  for (const auto& [number, fingerprint] : known)
    if (!visit(number, record(number))) break;
  return {};
}

std::vector<ntfs::StreamExtent> TableVolume::device_extents(const ntfs::StreamInfo& stream) const {
  if (stream.runs.empty()) return {};
  return {{0, {0, stream.size_bytes}}};
}

Result<std::string> TableVolume::path_of(const ntfs::FileRecord& file) const {
  if (file.reference == root_) return profile_root_;
  if (file.names.empty()) return fail(ErrorCode::not_found, "record without a name");
  return path_of(file.names.front());
}

Result<std::string> TableVolume::path_of(const ntfs::NameInfo& name) const {
  std::string path = name.name;
  auto parent = name.parent;
  for (std::size_t depth = 0; depth < kMostLevelsStored; ++depth) {
    if (parent == root_) return profile_root_ + "/" + path;
    RS_TRY(const auto directory, record(parent.record));
    if (directory.reference != parent || directory.names.empty())
      return fail(ErrorCode::corrupt,
                  "record " + std::to_string(parent.record) + " is no longer the folder of " + path);
    path = directory.names.front().name + "/" + path;
    parent = directory.names.front().parent;
  }
  return fail(ErrorCode::corrupt, path + ": lies in a cycle of folders");
}

Result<ntfs::FileReference> TableVolume::lookup(const std::string& path) const {
  for (const auto& copy : copies_)
    if (same_name(copy.path, path) && !is_below(copy.path, profile_root_))
      return ntfs::FileReference{copy.record, copy.sequence};
  if (same_name(path, profile_root_)) return root_;
  if (!is_below(path, profile_root_)) return fail(ErrorCode::not_found, path + ": not in the profile");
  auto at = root_;
  for (std::size_t begin = profile_root_.size() + 1; begin <= path.size();) {
    const auto end = std::min(path.find('/', begin), path.size());
    const auto name = path.substr(begin, end - begin);
    begin = end + 1;
    RS_TRY(const auto children, list(at.record));
    auto found =
        std::find_if(children.begin(), children.end(), [&](const auto& child) { return child.name == name; });
    if (found == children.end())
      found = std::find_if(children.begin(), children.end(),
                           [&](const auto& child) { return same_name(child.name, name); });
    if (found == children.end()) return fail(ErrorCode::not_found, path + ": '" + name + "' is not there");
    at = found->reference;
  }
  return at;
}

Result<void> TableVolume::read(const ntfs::StreamInfo& stream, std::uint64_t offset,
                               MutableByteView out) const {
  const auto* copy = stream.name.empty() ? copy_of(stream.record) : nullptr;
  if (copy == nullptr) return read_live(stream, offset, out);
  RS_TRY_CTX(const auto file, "copy of " + copy->path,
             files_.open(os::join_path(spool_, copy->copy), os::OpenMode::read));
  return file->read_exactly(offset, out);
}

Result<ntfs::FileRecord> SavedVolume::record(std::uint64_t number) const {
  RS_TRY(const auto item, tree_.find(number));
  if (item) return item->to_record();
  if (const auto* copy = copy_of(number)) return record_of(*copy);
  return fail(ErrorCode::not_found, "record " + std::to_string(number) + ": not in the tree");
}

Result<std::vector<ntfs::Volume::DirectoryEntry>> SavedVolume::list(std::uint64_t directory) const {
  RS_TRY(const auto children, tree_.children(directory));
  std::vector<DirectoryEntry> entries;
  for (const auto number : children) {
    RS_TRY(const auto item, tree_.find(number));
    if (!item) continue;
    for (const auto& name : item->names)
      if (name.parent == directory) entries.push_back({name.name, {item->record, item->sequence}});
  }
  return entries;
}

Result<void> SavedVolume::read_live(const ntfs::StreamInfo& stream, std::uint64_t, MutableByteView) const {
  return fail(ErrorCode::internal,
              "record " + std::to_string(stream.record) + ": the bytes of what was saved are not kept");
}

}  // namespace roamstead::agent
