#include "common/vdisk/chain.h"

#include <algorithm>

namespace roamstead::vdisk {
namespace {

bool is_absolute(const std::string& path) {
  return path.starts_with('/') || (path.size() > 1 && path[1] == ':');
}

// "\\?\C:\a\b" and "\\?\Volume{…}\a\b" as "/a/b".
std::string without_volume(std::string path) {
  if (path.starts_with("//?/")) path.erase(0, 4);
  if (path.starts_with("Volume{") || (path.size() > 1 && path[1] == ':')) {
    auto slash = path.find('/');
    path = slash == std::string::npos ? std::string() : path.substr(slash);
  }
  return path;
}

std::string with_slashes(std::string path) {
  std::replace(path.begin(), path.end(), '\\', '/');
  return path;
}

// "d/./a" and "d/x/../a" as "d/a": so that a chain's paths stay readable however deep it is.
std::string join_relative(const std::string& directory, std::string relative) {
  auto base = directory;
  while (true) {
    if (relative.starts_with("./")) {
      relative.erase(0, 2);
    } else if (relative.starts_with("../") && base != "." && base != "/" && os::base_name(base) != "..") {
      relative.erase(0, 3);
      base = os::parent_directory(base);
    } else {
      break;
    }
  }
  return is_absolute(relative) ? relative : os::join_path(base, relative);
}

struct Candidate {
  std::string path;
  ChainLayer layer;
};

Result<ChainLayer> open_layer(os::FileSystem& files, const std::string& path, Access access) {
  ChainLayer opened;
  RS_TRY(opened.lock, lock_file(files, path, access == Access::write));
  RS_TRY(auto format, detect_format(*opened.lock, path));
  if (format == Format::raw) {
    RS_TRY(opened.layer, open_raw_layer(files, path, access));
    return opened;
  }
  RS_TRY(auto layer, vhdx::VhdxLayer::open(files, path, access));
  opened.vhdx = layer.get();
  opened.layer = std::move(layer);
  return opened;
}

// The first candidate with the right id. A wrong one is remembered: "changed" says more than "missing".
Result<ChainLayer> open_parent(os::FileSystem& files, const ChainLayer& child,
                               const std::string& child_path) {
  const auto& locator = child.vhdx->metadata().locator;
  auto wanted = locator.get_guid(vhdx::kParentLinkage);
  if (!wanted)
    return fail(ErrorCode::corrupt, child_path + ": its parent locator has no valid parent_linkage");
  auto candidates = parent_candidates(child_path, locator);
  std::string changed;
  for (const auto& path : candidates) {
    RS_TRY(auto there, files.exists(path));
    if (!there) continue;
    RS_TRY_CTX(auto parent, "parent of " + child_path, open_layer(files, path, Access::read));
    auto id = parent.layer->info().id;
    if (parent.vhdx != nullptr && names_parent(locator, id)) return parent;
    if (changed.empty())
      changed = path + (parent.vhdx == nullptr ? " is not a VHDX file" : " has the id " + id.to_string());
  }
  if (!changed.empty())
    return fail(ErrorCode::stale, child_path + ": its parent was changed: " + changed + ", " +
                                      wanted->to_string() + " expected");
  std::string tried;
  for (const auto& path : candidates) tried += (tried.empty() ? "" : ", ") + path;
  return fail(ErrorCode::not_found, child_path + ": its parent with the id " + wanted->to_string() +
                                        " is missing; looked at " + (tried.empty() ? "no path" : tried));
}

}  // namespace

Result<std::shared_ptr<os::File>> lock_file(os::FileSystem& files, const std::string& path, bool exclusive) {
  RS_TRY(auto file, files.open(path, exclusive ? os::OpenMode::read_write : os::OpenMode::read));
  RS_CHECK(file->lock(exclusive));
  return std::shared_ptr<os::File>(std::move(file));
}

std::vector<std::string> parent_candidates(const std::string& child_path,
                                           const vhdx::ParentLocator& locator) {
  auto directory = os::parent_directory(child_path);
  std::vector<std::string> candidates;
  auto add = [&](const std::string& path) {
    if (path.empty() || path.back() == '/' || path.find('\0') != std::string::npos) return;
    if (std::find(candidates.begin(), candidates.end(), path) == candidates.end()) candidates.push_back(path);
  };
  if (auto relative = locator.get(vhdx::kRelativePath))
    add(join_relative(directory, with_slashes(*relative)));
  for (auto key : {vhdx::kVolumePath, vhdx::kAbsolutePath}) {
    auto value = locator.get(key);
    if (!value) continue;
    auto path = with_slashes(*value);
    add(path);
    add(without_volume(path));
    if (auto name = os::base_name(path); !name.empty()) add(os::join_path(directory, name));
  }
  return candidates;
}

bool names_parent(const vhdx::ParentLocator& locator, const Guid& id) {
  return locator.get_guid(vhdx::kParentLinkage) == id || locator.get_guid(vhdx::kParentLinkage2) == id;
}

bool merge_pending(const vhdx::VhdxLayer& layer) {
  auto marker = layer.metadata().locator.get_guid(vhdx::kMergingChild);
  return marker && *marker != layer.info().id;
}

Result<Chain> open_chain(os::FileSystem& files, const std::string& path, Access access) {
  Chain chain;
  RS_TRY(auto top, open_layer(files, path, access));
  if (top.vhdx != nullptr && merge_pending(*top.vhdx))
    return fail(ErrorCode::busy,
                path +
                    ": a merge into this layer was interrupted; open the disk above it for writing, "
                    "which finishes the merge");
  chain.push_back(std::move(top));
  while (true) {
    auto& child = chain.back();
    if (child.vhdx == nullptr || !child.vhdx->metadata().has_parent) return chain;
    auto child_path = child.layer->info().path;
    if (chain.size() == kMaxLayers)
      return fail(ErrorCode::unsupported, path + ": more than " + std::to_string(kMaxLayers) +
                                              " layers, or a layer that is its own ancestor");
    RS_TRY(auto parent, open_parent(files, child, child_path));
    auto parent_path = parent.layer->info().path;
    for (const auto& other : chain)
      if (other.layer->info().path == parent_path)
        return fail(ErrorCode::corrupt,
                    child_path + ": its parent " + parent_path + " is also its descendant");
    child.vhdx->reparented(parent_path);
    chain.push_back(std::move(parent));
  }
}

Result<LayerInfo> inspect(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  RS_TRY(auto format, detect_format(*file, path));
  LayerInfo info;
  info.path = path;
  info.format = format;
  if (format == Format::raw) {
    RS_TRY(info.virtual_bytes, file->size());
    return info;
  }
  RS_TRY(auto current, vhdx::read_header(*file));
  RS_TRY(auto regions, vhdx::read_regions(*file, current.header));
  RS_TRY(auto metadata, vhdx::read_metadata(*file, regions.metadata));
  info.kind = metadata.has_parent        ? LayerKind::differencing
              : metadata.leave_allocated ? LayerKind::fixed
                                         : LayerKind::dynamic;
  info.virtual_bytes = metadata.virtual_bytes;
  info.block_bytes = metadata.block_bytes;
  info.id = current.header.data_write_guid;
  if (!metadata.has_parent) return info;
  info.parent_id = metadata.locator.get_guid(vhdx::kParentLinkage).value_or(Guid{});
  auto candidates = parent_candidates(path, metadata.locator);
  for (const auto& candidate : candidates) {
    RS_TRY(auto there, files.exists(candidate));
    if (!there) continue;
    info.parent_path = candidate;
    return info;
  }
  if (!candidates.empty()) info.parent_path = candidates.front();
  return info;
}

Result<std::vector<std::string>> find_children(os::FileSystem& files, const std::string& directory,
                                               const Guid& id) {
  RS_TRY(auto names, files.list_directory(directory));
  std::vector<std::string> children;
  for (const auto& name : names) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (!lower.ends_with(".vhdx") && !lower.ends_with(".avhdx")) continue;
    auto path = os::join_path(directory, name);
    RS_TRY_CTX(auto file, "looking for children of " + id.to_string(), files.open(path, os::OpenMode::read));
    RS_TRY_CTX(auto current, "looking for children of " + id.to_string(), vhdx::read_header(*file));
    RS_TRY(auto regions, vhdx::read_regions(*file, current.header));
    RS_TRY(auto metadata, vhdx::read_metadata(*file, regions.metadata));
    if (metadata.has_parent && names_parent(metadata.locator, id)) children.push_back(path);
  }
  return children;
}

}  // namespace roamstead::vdisk
