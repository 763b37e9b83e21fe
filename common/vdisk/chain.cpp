#include "common/vdisk/chain.h"

#include <algorithm>

#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk {
namespace {

// Of a format that knows parents.
Result<std::shared_ptr<ImageLayer>> open_image(os::FileSystem& files, const std::string& path, Format format,
                                               Access access) {
  if (format == Format::vhdx) return vhdx::VhdxLayer::open(files, path, access);
  return fail(ErrorCode::unsupported, path + ": " + std::string(to_string(format)) + " is not read yet");
}

Result<LayerDescription> describe(const os::File& file, const std::string& path, Format format) {
  if (format == Format::vhdx) return vhdx::describe(file, path);
  LayerDescription description;
  description.info.path = path;
  description.info.format = format;
  RS_TRY(description.info.virtual_bytes, file.size());
  return description;
}

}  // namespace

Result<ChainLayer> open_layer(os::FileSystem& files, const std::string& path, Access access,
                              std::optional<Format> expected) {
  ChainLayer opened;
  RS_TRY(opened.lock, lock_file(files, path, access == Access::write));
  auto format = Format::raw;
  if (expected != Format::raw) {
    RS_TRY(format, detect_format(*opened.lock, path));
  }
  if (format == Format::raw) {
    RS_TRY(opened.layer, open_raw_layer(files, path, access));
    return opened;
  }
  RS_TRY(auto layer, open_image(files, path, format, access));
  opened.image = layer.get();
  opened.layer = std::move(layer);
  return opened;
}

namespace {

std::string ids_of(const ParentReference& reference) {
  return reference.ids.empty() ? std::string() : reference.ids.front().to_string();
}

// Why the layer found is not the parent that is meant; empty when it is.
std::string unlike(const ParentReference& reference, const LayerInfo& found) {
  if (reference.format && *reference.format != found.format)
    return found.path + " is a " + std::string(to_string(found.format)) + " disk, no " +
           std::string(to_string(*reference.format));
  if (!reference.ids.empty() && !reference.names(found.id))
    return found.path + " has the id " + found.id.to_string() + ", " + ids_of(reference) + " expected";
  return "";
}

// The first candidate that is what the child means. A wrong one is remembered: "changed" says more than
// "missing".
Result<ChainLayer> open_parent(os::FileSystem& files, const ParentReference& reference,
                               const std::string& child_path) {
  std::string changed;
  for (const auto& path : reference.candidates) {
    RS_TRY(auto there, files.exists(path));
    if (!there) continue;
    RS_TRY_CTX(auto parent, "parent of " + child_path,
               open_layer(files, path, Access::read, reference.format));
    auto difference = unlike(reference, parent.layer->info());
    if (difference.empty()) return parent;
    if (changed.empty()) changed = difference;
  }
  if (!changed.empty()) return fail(ErrorCode::stale, child_path + ": its parent was changed: " + changed);
  std::string tried;
  for (const auto& path : reference.candidates) tried += (tried.empty() ? "" : ", ") + path;
  return fail(ErrorCode::not_found, child_path + ": its parent" +
                                        (reference.ids.empty() ? "" : " with the id " + ids_of(reference)) +
                                        " is missing; looked at " + (tried.empty() ? "no path" : tried));
}

bool has_disk_extension(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  for (auto extension : {".vhdx", ".avhdx"})
    if (lower.ends_with(extension)) return true;
  return false;
}

// By id where the child knows it by that, else by one of its paths leading there.
Result<bool> is_child(os::FileSystem& files, const ParentReference& reference, const LayerInfo& parent) {
  if (!reference.ids.empty()) return !parent.id.is_zero() && reference.names(parent.id);
  for (const auto& candidate : reference.candidates) {
    RS_TRY(auto there, files.exists(candidate));
    if (!there) continue;
    return files.same_file(candidate, parent.path);  // the first that is there is the parent
  }
  return false;
}

}  // namespace

Result<std::shared_ptr<os::File>> lock_file(os::FileSystem& files, const std::string& path, bool exclusive) {
  RS_TRY(auto file, files.open(path, exclusive ? os::OpenMode::read_write : os::OpenMode::read));
  RS_CHECK(file->lock(exclusive));
  return std::shared_ptr<os::File>(std::move(file));
}

bool merge_pending(const ImageLayer& layer) {
  auto marker = layer.lineage().merging_child;
  return !marker.is_zero() && marker != layer.info().id;
}

Result<Chain> open_chain(os::FileSystem& files, const std::string& path, Access access) {
  Chain chain;
  RS_TRY(auto top, open_layer(files, path, access));
  if (top.image != nullptr && merge_pending(*top.image))
    return fail(ErrorCode::busy,
                path +
                    ": a merge into this layer was interrupted; open the disk above it for writing, "
                    "which finishes the merge");
  chain.push_back(std::move(top));
  while (true) {
    auto& child = chain.back();
    auto reference = child.image == nullptr ? std::nullopt : child.image->parent();
    if (!reference) return chain;
    auto child_path = child.layer->info().path;
    if (chain.size() == kMaxLayers)
      return fail(ErrorCode::unsupported, path + ": more than " + std::to_string(kMaxLayers) +
                                              " layers, or a layer that is its own ancestor");
    RS_TRY(auto parent, open_parent(files, *reference, child_path));
    auto parent_path = parent.layer->info().path;
    for (const auto& other : chain)
      if (other.layer->info().path == parent_path)
        return fail(ErrorCode::corrupt,
                    child_path + ": its parent " + parent_path + " is also its descendant");
    child.image->reparented(parent_path);
    chain.push_back(std::move(parent));
  }
}

Result<LayerInfo> inspect(os::FileSystem& files, const std::string& path) {
  RS_TRY(auto file, files.open(path, os::OpenMode::read));
  RS_TRY(auto format, detect_format(*file, path));
  RS_TRY(auto description, describe(*file, path, format));
  auto& info = description.info;
  if (!description.parent) return info;
  const auto& candidates = description.parent->candidates;
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
                                               const LayerInfo& parent) {
  RS_TRY(auto names, files.list_directory(directory));
  std::vector<std::string> children;
  for (const auto& name : names) {
    if (!has_disk_extension(name)) continue;
    auto path = os::join_path(directory, name);
    auto context = "looking for children of " + parent.path;
    RS_TRY_CTX(auto file, context, files.open(path, os::OpenMode::read));
    RS_TRY_CTX(auto format, context, detect_format(*file, path));
    RS_TRY_CTX(auto description, context, describe(*file, path, format));
    if (!description.parent) continue;
    RS_TRY(auto child, is_child(files, *description.parent, parent));
    if (child) children.push_back(path);
  }
  return children;
}

}  // namespace roamstead::vdisk
