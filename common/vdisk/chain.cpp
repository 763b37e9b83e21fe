#include "common/vdisk/chain.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/vdisk/qcow2_layer.h"
#include "common/vdisk/vhd_layer.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk {
namespace {

// Of a format that knows parents.
Result<std::shared_ptr<ImageLayer>> open_image(os::FileSystem& files, const std::string& path, Format format,
                                               Access access, bool ignore_checksum) {
  if (format == Format::vhdx) return vhdx::VhdxLayer::open(files, path, access);
  if (format == Format::qcow2) return qcow2::Qcow2Layer::open(files, path, access);
  vhd::FileOptions options;
  options.ignore_checksum = ignore_checksum;
  if (format == Format::vhd) return vhd::VhdLayer::open(files, path, access, options);
  return fail(ErrorCode::unsupported, path + ": " + std::string(to_string(format)) + " is not read yet");
}

Result<LayerDescription> describe(const os::File& file, const std::string& path, Format format) {
  if (format == Format::vhdx) return vhdx::describe(file, path);
  if (format == Format::vhd) return vhd::describe(file, path);
  if (format == Format::qcow2) return qcow2::describe(file, path);
  LayerDescription description;
  description.info.path = path;
  description.info.format = format;
  RS_TRY(description.info.virtual_bytes, file.size());
  return description;
}

}  // namespace

Result<ChainLayer> open_layer(os::FileSystem& files, const std::string& path, Access access,
                              const LayerOptions& options) {
  ChainLayer opened;
  RS_TRY(opened.lock, lock_file(files, path, access == Access::write));
  auto format = Format::raw;
  if (options.format != Format::raw) {
    RS_TRY(format, detect_format(*opened.lock, path));
  }
  if (format == Format::raw) {
    RS_TRY(opened.layer, open_raw_layer(files, path, access));
    return opened;
  }
  RS_TRY(auto layer, open_image(files, path, format, access, options.ignore_checksum));
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

// As later_than_noted(), of what was found already.
std::optional<std::string> time_difference(os::FileSystem& files, const ParentReference& reference,
                                           const std::string& parent_path) {
  constexpr std::int64_t kFileSystemGrain = 2;  // FAT
  if (!reference.modified) return {};
  auto now = files.modified_seconds(parent_path);
  if (!now || std::abs(*now - *reference.modified) <= kFileSystemGrain) return {};
  return "its parent " + parent_path + " was last written at " + std::to_string(*now) +
         " (seconds since 1970), when this child was made at " + std::to_string(*reference.modified) +
         "; if it was changed since, and not only copied, this disk's content is wrong";
}

// The first candidate that is what the child means. A wrong one is remembered: "changed" says more than
// "missing".
Result<ChainLayer> open_parent(os::FileSystem& files, const ParentReference& reference,
                               const std::string& child_path, bool ignore_checksum) {
  std::string changed;
  LayerOptions options{reference.format, ignore_checksum};
  for (const auto& path : reference.candidates) {
    RS_TRY(auto there, files.exists(path));
    if (!there) continue;
    RS_TRY_CTX(auto parent, "parent of " + child_path, open_layer(files, path, Access::read, options));
    auto difference = unlike(reference, parent.layer->info());
    if (difference.empty()) {
      if (auto late = time_difference(files, reference, path)) log_warning("{}: {}", child_path, *late);
      return parent;
    }
    if (changed.empty()) changed = difference;
  }
  const auto where = child_path + ": at offset " + std::to_string(reference.at);
  if (!changed.empty()) return fail(ErrorCode::stale, where + ": its parent was changed: " + changed);
  std::string tried;
  for (const auto& path : reference.candidates) tried += (tried.empty() ? "" : ", ") + path;
  return fail(ErrorCode::not_found, where + ": its parent" +
                                        (reference.ids.empty() ? "" : " with the id " + ids_of(reference)) +
                                        " is missing; looked at " + (tried.empty() ? "no path" : tried));
}

// Stands below a layer whose parent nobody has: whatever is read here is an error.
class MissingLayer final : public Layer {
 public:
  MissingLayer(LayerInfo info, Error error) : info_(std::move(info)), error_(std::move(error)) {}

  LayerInfo info() const override { return info_; }
  std::uint64_t virtual_bytes() const override { return info_.virtual_bytes; }
  Result<Piece> lookup(std::uint64_t /*offset*/, std::uint64_t /*length*/) const override {
    return fail(error_);
  }
  Result<void> read_file(std::uint64_t /*file_offset*/, MutableByteView /*out*/) const override {
    return fail(error_);
  }
  Result<RangeSet> extents() const override { return RangeSet(); }
  std::uint32_t write_unit() const override { return 1; }
  Result<void> write(std::uint64_t /*offset*/, ByteView /*data*/) override { return fail(error_); }
  Result<void> flush() override { return {}; }

 private:
  LayerInfo info_;
  Error error_;
};

ChainLayer missing_layer(const LayerInfo& child, const ParentReference& reference, Error error) {
  LayerInfo info;
  info.path = reference.candidates.empty() ? "" : reference.candidates.front();
  info.format = reference.format.value_or(Format::raw);
  info.virtual_bytes = child.virtual_bytes;
  info.id = child.parent_id;
  ChainLayer missing;
  missing.layer = std::make_shared<MissingLayer>(std::move(info), std::move(error));
  return missing;
}

bool has_disk_extension(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  for (auto extension : {".vhdx", ".avhdx", ".vhd", ".avhd", ".qcow2"})
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

std::optional<std::string> later_than_noted(os::FileSystem& files, const std::string& child_path,
                                            const std::string& parent_path) {
  auto file = files.open(child_path, os::OpenMode::read);
  if (!file) return {};
  auto format = detect_format(**file, child_path);
  if (!format) return {};
  auto description = describe(**file, child_path, *format);
  if (!description || !description->parent) return {};
  return time_difference(files, *description->parent, parent_path);
}

bool merge_pending(const ImageLayer& layer) {
  auto marker = layer.lineage().merging_child;
  return !marker.is_zero() && marker != layer.info().id;
}

Result<Chain> open_chain(os::FileSystem& files, const std::string& path, Access access,
                         const OpenOptions& options) {
  if (access == Access::write &&
      (options.ignore_checksum || options.missing_parent || !options.parent.empty()))
    return fail(ErrorCode::invalid_argument,
                path + ": with wrong checksums, another or no parent a disk is opened for reading only");
  Chain chain;
  RS_TRY(auto top, open_layer(files, path, access, {{}, options.ignore_checksum}));
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
    if (chain.size() == 1 && !options.parent.empty()) reference->candidates = {options.parent};
    auto opened = open_parent(files, *reference, child_path, options.ignore_checksum);
    if (!opened && options.missing_parent) {
      chain.push_back(missing_layer(child.layer->info(), *reference, std::move(opened).error()));
      return chain;
    }
    RS_TRY(auto parent, std::move(opened));
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
