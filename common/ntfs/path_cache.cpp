#include "common/ntfs/path_cache.h"

#include <fmt/format.h>

#include <mutex>
#include <unordered_set>
#include <vector>

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kMaxKnownPathBytes = 64u << 20;
constexpr std::size_t kMaxDepth = 16384;          // 32,767 UTF-16 units of one-letter names
constexpr std::size_t kMaxPathBytes = 3 * 32767;  // in WTF-8
constexpr std::size_t kEntryOverheadBytes = 96;

}  // namespace

bool PathCache::find(FileReference directory, std::string& path) const {
  if (directory == root_) {
    path.clear();
    return true;
  }
  std::shared_lock lock(mutex_);
  auto known = known_.find(directory.record);
  if (known == known_.end() || known->second.sequence != directory.sequence) return false;
  path = known->second.path;
  return true;
}

void PathCache::remember(FileReference directory, const std::string& path) const {
  std::unique_lock lock(mutex_);
  if (known_bytes_ > kMaxKnownPathBytes) {
    known_.clear();
    known_bytes_ = 0;
  }
  if (known_.insert_or_assign(directory.record, Known{directory.sequence, path}).second)
    known_bytes_ += path.size() + kEntryOverheadBytes;
}

Result<std::string> PathCache::directory_path(FileReference directory, const DirectoryName& name_of) const {
  struct Step {
    FileReference directory;
    std::string name;
  };
  std::vector<Step> steps;  // from the directory asked for up to the first one known
  std::string path;
  std::size_t length = 0;
  std::unordered_set<std::uint64_t> seen;
  while (!find(directory, path)) {
    RS_TRY(auto name, name_of(directory));
    length += name.name.size() + 1;
    steps.push_back({directory, std::move(name.name)});
    if (!seen.insert(directory.record).second || steps.size() > kMaxDepth || length > kMaxPathBytes)
      return fail(ErrorCode::corrupt, fmt::format("the parents of directory {} form a cycle or go too deep",
                                                  steps.front().directory.record));
    directory = name.parent;
  }
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!path.empty()) path += '/';
    path += step->name;
    if (path.size() > kMaxPathBytes)
      return fail(ErrorCode::corrupt,
                  fmt::format("the path of directory {} is too long", step->directory.record));
    remember(step->directory, path);
  }
  return path;
}

}  // namespace roamstead::ntfs
