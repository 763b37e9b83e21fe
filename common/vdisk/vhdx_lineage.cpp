// A VHDX file's parent locator in the words that all formats share.
#include "common/vdisk/parent_paths.h"
#include "common/vdisk/vhdx_create.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {

ParentReference parent_reference(const std::string& child_path, const Metadata& metadata) {
  const auto& locator = metadata.locator;
  ParentReference reference;
  reference.format = Format::vhdx;
  for (auto key : {kParentLinkage, kParentLinkage2})
    if (auto id = locator.get_guid(key)) reference.ids.push_back(*id);
  ParentPaths paths(child_path);
  if (auto relative = locator.get(kRelativePath)) paths.add_relative(*relative);
  for (auto key : {kVolumePath, kAbsolutePath})
    if (auto path = locator.get(key)) paths.add_absolute(*path);
  reference.candidates = paths.take();
  reference.at = metadata.locator_at;
  return reference;
}

Lineage to_lineage(const ParentLocator& locator) {
  Lineage lineage;
  lineage.parent_format = Format::vhdx;
  lineage.parent_id = locator.get_guid(kParentLinkage).value_or(Guid{});
  lineage.parent_id2 = locator.get_guid(kParentLinkage2).value_or(Guid{});
  lineage.parent_path = locator.get(kRelativePath).value_or("");
  std::replace(lineage.parent_path.begin(), lineage.parent_path.end(), '\\', '/');
  lineage.merging_child = locator.get_guid(kMergingChild).value_or(Guid{});
  lineage.merged_path = locator.get(kMergedPath).value_or("");
  lineage.merged_id = locator.get_guid(kMergedId).value_or(Guid{});
  return lineage;
}

Result<void> apply_lineage(const Lineage& lineage, ParentLocator& locator) {
  auto set_id = [&](std::string_view key, const Guid& id) {
    if (id.is_zero())
      locator.erase(key);
    else
      locator.set_guid(std::string(key), id);
  };
  auto before = to_lineage(locator);
  set_id(kParentLinkage, lineage.parent_id);
  set_id(kParentLinkage2, lineage.parent_id2);
  if (lineage.parent_path != before.parent_path) {
    RS_TRY(auto path, to_locator_path(lineage.parent_path));
    locator.set(std::string(kRelativePath), path);
    for (auto key : {kVolumePath, kAbsolutePath}) locator.erase(key);  // of the parent before
  }
  set_id(kMergingChild, lineage.merging_child);
  if (lineage.merged_path.empty())
    locator.erase(kMergedPath);
  else
    locator.set(std::string(kMergedPath), lineage.merged_path);
  set_id(kMergedId, lineage.merged_id);
  return {};
}

Result<LayerDescription> describe(const os::File& original, const std::string& path) {
  RS_TRY(auto current, read_header(original));
  RS_TRY(auto replayed, open_replayed(original, current.header));
  const auto& file = replayed ? static_cast<const os::File&>(*replayed) : original;
  RS_TRY(auto regions, read_regions(file, current.header));
  RS_TRY(auto metadata, read_metadata(file, regions.metadata));
  LayerDescription description;
  auto& info = description.info;
  info.path = path;
  info.format = Format::vhdx;
  info.kind = metadata.has_parent        ? LayerKind::differencing
              : metadata.leave_allocated ? LayerKind::fixed
                                         : LayerKind::dynamic;
  info.virtual_bytes = metadata.virtual_bytes;
  info.block_bytes = metadata.block_bytes;
  info.id = current.header.data_write_guid;
  if (!metadata.has_parent) return description;
  description.parent = parent_reference(path, metadata);
  info.parent_id = to_lineage(metadata.locator).parent_id;
  return description;
}

Result<std::unique_ptr<ImageLayer>> VhdxLayer::create_child(os::FileSystem& files, const std::string& path,
                                                            const std::string& parent_path) const {
  RS_TRY(auto metadata, child_metadata(metadata_, info().id, parent_path));
  RS_CHECK(create_file(files, path, metadata));
  return VhdxLayer::open(files, path, Access::write, true);
}

Result<std::unique_ptr<ImageLayer>> VhdxLayer::create_twin(os::FileSystem& files,
                                                           const std::string& path) const {
  RS_CHECK(create_file(files, path, metadata_));
  RS_TRY(auto twin, VhdxLayer::open(files, path, Access::write, true));
  RS_CHECK(twin->set_id(info().id));
  return twin;
}

}  // namespace roamstead::vdisk::vhdx
