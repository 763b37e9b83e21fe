#include "tests/flow/comparison.h"

#include <algorithm>

#include "common/profile/registry.h"

namespace roamstead::flow {
namespace {

using ntfs3g::FileReference;
using ntfs3g::ItemInfo;
using ntfs3g::LibraryVolume;

constexpr std::size_t kMostDifferences = 100;

struct Found {
  ItemInfo info;
  std::map<std::string, std::uint64_t> streams;  // alternate ones, with their sizes
};
using Tree = std::map<std::string, Found>;

Result<void> walk(LibraryVolume& volume, FileReference directory, const std::string& path, Tree& tree) {
  auto& found = tree[path];
  RS_TRY(found.info, volume.stat(directory));
  RS_TRY(const auto names, volume.list(directory));
  for (auto& name : names) {
    const auto child = path.empty() ? name.name : path + "/" + name.name;
    if (profile::classify_hive_file(child) != profile::HiveFile::none)
      continue;  // flow_registry compares them
    RS_TRY(const auto info, volume.stat(name.reference));
    if (info.directory) {
      RS_CHECK(walk(volume, name.reference, child, tree));
      continue;
    }
    auto& file = tree[child];
    file.info = info;
    RS_TRY(const auto streams, volume.streams(name.reference));
    for (auto& stream : streams) file.streams[stream.name] = stream.size_bytes;
  }
  return {};
}

Result<Tree> read_tree(LibraryVolume& volume, const std::string& root) {
  Tree tree;
  RS_TRY(const auto directory, volume.find(root));
  RS_CHECK_CTX(volume.name(), walk(volume, directory, "", tree));
  return tree;
}

class Differences {
 public:
  void add(const std::string& path, const std::string& what) {
    if (all_.size() < kMostDifferences) all_.push_back("'" + path + "': " + what);
  }
  template <class T>
  void check(const std::string& path, const std::string& what, const T& first, const T& second) {
    if (first != second) add(path, what + " " + std::to_string(first) + " and " + std::to_string(second));
  }
  std::vector<std::string> take() { return std::move(all_); }

 private:
  std::vector<std::string> all_;
};

std::uint32_t roaming(const ItemInfo& info) { return info.attributes & profile::kRoamingAttributes; }

void compare_metadata_with_model(const std::string& path, const ItemInfo& info, const ModelItem& item,
                                 Differences& differences) {
  if (item.changed) return;
  differences.check(path, "created", info.created_100ns, item.metadata.created_100ns);
  if (!item.directory) differences.check(path, "written", info.written_100ns, item.metadata.written_100ns);
  differences.check(path, "attributes", roaming(info), item.metadata.attributes);
}

Result<void> compare_streams(LibraryVolume& volume, const std::string& path, const Found& found,
                             const ModelItem& item, Differences& differences) {
  if (found.streams.size() + 1 != item.streams.size())
    differences.add(path, std::to_string(found.streams.size()) + " streams instead of " +
                              std::to_string(item.streams.size() - 1));
  for (auto& [stream, expected] : item.streams) {
    auto size = volume.size(found.info.reference, stream);
    if (!size || *size != expected.size()) {
      differences.add(path, "stream '" + stream + "' " +
                                (size ? "has " + std::to_string(*size) + " bytes instead of " +
                                            std::to_string(expected.size())
                                      : size.error().to_string()));
      continue;
    }
    Bytes content(expected.size());
    RS_CHECK(volume.read(found.info.reference, stream, 0, content));
    const auto [at, wanted] = std::mismatch(content.begin(), content.end(), expected.begin());
    if (at != content.end())
      differences.add(path,
                      "stream '" + stream + "' differs from byte " + std::to_string(at - content.begin()));
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> compare_with_model(LibraryVolume& volume, const std::string& root,
                                                    const ProfileModel& model, const IsLoaded& loaded) {
  RS_TRY(const auto tree, read_tree(volume, root));
  Differences differences;
  for (auto& [path, found] : tree)
    if (!model.has(path)) differences.add(path, "should not be there");
  for (auto& [path, item] : model.items()) {
    const auto it = tree.find(path);
    if (it == tree.end() || it->second.info.directory != item.directory) {
      differences.add(path, it == tree.end() ? "is missing" : "is of the other kind");
      continue;
    }
    compare_metadata_with_model(path, it->second.info, item, differences);
    if (!item.directory && loaded(it->second.info.reference))
      RS_CHECK_CTX(path, compare_streams(volume, path, it->second, item, differences));
  }
  return differences.take();
}

Result<std::vector<std::string>> compare_metadata(LibraryVolume& first, LibraryVolume& second,
                                                  const std::string& root) {
  RS_TRY(const auto left, read_tree(first, root));
  RS_TRY(const auto right, read_tree(second, root));
  Differences differences;
  for (auto& [path, found] : right)
    if (!left.contains(path)) differences.add(path, "only on the second desktop");
  for (auto& [path, found] : left) {
    const auto it = right.find(path);
    if (it == right.end()) {
      differences.add(path, "only on the first desktop");
      continue;
    }
    auto& mine = found.info;
    auto& other = it->second.info;
    differences.check(path, "directory", mine.directory, other.directory);
    differences.check(path, "size", mine.size_bytes, other.size_bytes);
    differences.check(path, "created", mine.created_100ns, other.created_100ns);
    if (!mine.directory)  // a directory's write time follows the arrival of its children
      differences.check(path, "written", mine.written_100ns, other.written_100ns);
    differences.check(path, "attributes", roaming(mine), roaming(other));
    RS_TRY(const auto my_security, first.security(mine.reference));
    RS_TRY(const auto other_security, second.security(other.reference));
    if (my_security != other_security) differences.add(path, "other security descriptors");
    if (found.streams != it->second.streams) differences.add(path, "other alternate streams");
  }
  return differences.take();
}

}  // namespace roamstead::flow
