// Where a child's parent may lie, from what the child's file says of it.
#pragma once

#include <string>
#include <vector>

namespace roamstead::vdisk {

// Collects paths in the order in which they are to be tried, each once. Takes '\\' and '/'.
class ParentPaths {
 public:
  explicit ParentPaths(const std::string& child_path);

  // Relative to the child's directory.
  void add_relative(const std::string& path);
  // A Windows path: also without its drive or volume, and by its last name beside the child: where a disk was
  // copied from Windows, its parent usually lies.
  void add_absolute(const std::string& path);
  std::vector<std::string> take() { return std::move(paths_); }

 private:
  void add(const std::string& path);

  std::string directory_;
  std::vector<std::string> paths_;
};

// How to get from the directory `from` to the file `to`, both absolute or both relative to the same
// directory; with '/'.
std::string relative_path(const std::string& from, const std::string& to);

}  // namespace roamstead::vdisk
