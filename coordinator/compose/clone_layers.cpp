#include "coordinator/compose/clone_layers.h"

#include <algorithm>
#include <map>

namespace roamstead::compose {
namespace {

constexpr std::size_t kMostLayers = 64;  // of a chain, as common/vdisk has it

// The number in "NAME.0007.vhdx"; 0: it is another name.
unsigned number_in(const std::string& active, const std::string& path) {
  const auto dot = active.rfind('.');
  const auto stem = active.substr(0, dot + 1), ending = active.substr(dot);
  if (path.size() <= stem.size() + ending.size() || !path.starts_with(stem) || !path.ends_with(ending))
    return 0;
  const auto digits = path.substr(stem.size(), path.size() - stem.size() - ending.size());
  if (digits.size() > 9 ||
      !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return 0;
  return static_cast<unsigned>(std::stoul(digits));
}

Result<std::vector<std::string>> numbered(os::FileSystem& files, const std::string& active) {
  const auto directory = os::parent_directory(active);
  RS_TRY(const auto names, files.list_directory(directory));
  std::vector<std::string> paths;
  for (const auto& name : names)
    if (auto path = os::join_path(directory, name); number_in(active, path) != 0)
      paths.push_back(std::move(path));
  return paths;
}

}  // namespace

std::string current_top(os::FileSystem& files, const std::string& active) {
  std::map<std::string, std::string> child_of;
  if (const auto paths = numbered(files, active))
    for (const auto& path : *paths)
      if (const auto info = vdisk::inspect(files, path); info && !info->parent_path.empty())
        child_of[info->parent_path] = path;
  auto top = active;
  for (std::size_t i = 0; i < kMostLayers; ++i) {
    const auto child = child_of.find(top);
    if (child == child_of.end()) break;
    top = child->second;
  }
  return top;
}

Result<std::vector<vdisk::LayerInfo>> layers_of_clone(os::FileSystem& files, const std::string& active) {
  std::vector<vdisk::LayerInfo> layers;
  auto path = current_top(files, active);
  while (layers.size() < kMostLayers) {
    RS_TRY(auto info, vdisk::inspect(files, path));
    path = info.parent_path;
    layers.push_back(std::move(info));
    if (path != active && (path.empty() || number_in(active, path) == 0)) break;
  }
  return layers;
}

Result<std::string> next_top(os::FileSystem& files, const std::string& active) {
  RS_TRY(const auto paths, numbered(files, active));
  unsigned highest = 0;
  for (const auto& path : paths) highest = std::max(highest, number_in(active, path));
  auto digits = std::to_string(highest + 1);
  if (digits.size() < 4) digits.insert(0, 4 - digits.size(), '0');
  const auto dot = active.rfind('.');
  return active.substr(0, dot + 1) + digits + active.substr(dot);
}

}  // namespace roamstead::compose
