#include "common/extract/profile_tree.h"

#include <algorithm>

#include "common/profile/path.h"

namespace roamstead::extract {
namespace {

constexpr std::size_t kMaxDepth = 2048;             // deeper is no path Windows could open, or a cycle
constexpr std::uint64_t kFirstOrdinaryRecord = 24;  // below lie NTFS's own files

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

const Selection& everything() {
  static const Selection all;
  return all;
}

}  // namespace

Result<ProfileTree::Roots> ProfileTree::find_roots(const ntfs::Volume& volume,
                                                   const std::string& profile_root,
                                                   const std::string& staging_root,
                                                   const std::vector<std::string>& excluded) {
  Roots roots;
  RS_TRY_CTX(roots.profile, "profile root '" + profile_root + "'", volume.lookup(profile_root));
  if (!staging_root.empty())
    if (auto staging = volume.lookup(staging_root)) roots.staging = staging->record;
  for (const auto& path : excluded)
    if (auto reference = volume.lookup(path); reference && reference->record != ntfs::kRootRecord)
      roots.excluded.insert(reference->record);
  return roots;
}

ProfileTree::ProfileTree(const ntfs::Volume& volume, Roots roots, const Selection* selection)
    : volume_(volume),
      roots_(std::move(roots)),
      selection_(selection != nullptr ? selection : &everything()) {}

const ProfileTree::Directory& ProfileTree::directory(const ntfs::FileReference& reference) {
  return directory_at(reference, 0);
}

const ProfileTree::Directory& ProfileTree::directory_at(const ntfs::FileReference& reference,
                                                        std::size_t depth) {
  if (auto known = directories_.find(reference); known != directories_.end()) return known->second;
  auto resolved = resolve(reference, depth);
  return directories_.emplace(reference, std::move(resolved)).first->second;
}

ProfileTree::Directory ProfileTree::resolve(const ntfs::FileReference& reference, std::size_t depth) {
  if (reference == roots_.profile) return {Place::inside, "", ""};
  if (reference.record == roots_.staging) return {Place::staging, "", ""};
  if (reference.record < kFirstOrdinaryRecord || roots_.excluded.count(reference.record) != 0)
    return {Place::outside, "", ""};
  if (depth > kMaxDepth) return {Place::broken, "", "its parents form a cycle or are too many"};
  const auto number = std::to_string(reference.record);
  auto record = volume_.record(reference.record);
  if (!record)
    return {Place::broken, "", "parent directory, record " + number + ": " + record.error().to_string()};
  if (record->reference != reference)
    return {Place::broken, "", "its parent directory, record " + number + ", is another file by now"};
  if (!record->directory) return {Place::broken, "", "its parent, record " + number + ", is not a directory"};
  if (record->names.empty())
    return {Place::broken, "", "its parent directory, record " + number + ", has no name"};
  const auto& name = record->names.front();  // a directory has one name
  auto up = directory_at(name.parent, depth + 1);
  if (up.place != Place::inside) return up;
  if (auto fine = profile::check_name(name.name); !fine) return {Place::broken, "", fine.error().to_string()};
  auto path = join(up.path, name.name);
  if (selection_->leaves_out(path, true)) return {Place::outside, "", ""};
  return {Place::inside, std::move(path), ""};
}

Placement ProfileTree::place(const ntfs::FileRecord& file) {
  Placement placement;
  if (file.reference == roots_.profile) {
    placement.place = Place::inside;
    placement.names.push_back({});
    return placement;
  }
  if (file.reference.record < kFirstOrdinaryRecord || roots_.excluded.count(file.reference.record) != 0)
    return placement;
  for (const auto& name : file.names) {
    const auto& up = directory(name.parent);
    if (up.place == Place::inside) {
      if (auto fine = profile::check_name(name.name); !fine) {
        placement.problem = fine.error().to_string();
        continue;
      }
      auto path = join(up.path, name.name);
      if (!selection_->leaves_out(path, file.directory))
        placement.names.push_back({name.parent, name.name, std::move(path)});
    } else if (up.place == Place::staging) {
      placement.place = Place::staging;
    } else if (up.place == Place::broken) {
      placement.problem = up.problem;
    }
  }
  if (!placement.names.empty()) {
    placement.place = Place::inside;
    std::sort(placement.names.begin(), placement.names.end(),
              [](const Location& a, const Location& b) { return a.path < b.path; });
  } else if (!placement.problem.empty() && placement.place != Place::staging) {
    placement.place = Place::broken;
  }
  return placement;
}

}  // namespace roamstead::extract
