// What a qcow2 file says of its parent and of itself, and how that is changed.
//
// A name or an id is switched by one write of the header's first sector, which has the fields, the extensions
// (the parent's format among them) and, where it fits, the name. A longer name is written beside everything
// the old header refers to, and is durable before the switch.
#include <algorithm>
#include <mutex>

#include "common/vdisk/parent_paths.h"
#include "common/vdisk/qcow2_create.h"
#include "common/vdisk/qcow2_layer.h"

namespace roamstead::vdisk::qcow2 {

// The one place the name says: without ids, another file that happens to lie beside the child must not be
// taken for the parent.
ParentReference parent_reference(const std::string& child_path, const Header& header) {
  ParentReference reference;
  reference.format = format_of_name(header.text(kBackingFormat));
  ParentPaths paths(child_path);
  paths.add_relative(header.backing_name);
  reference.candidates = paths.take();
  reference.at = header.backing_place.offset;
  return reference;
}

LayerInfo to_info(const Header& header, const std::string& path) {
  LayerInfo info;
  info.path = path;
  info.format = Format::qcow2;
  info.kind = header.backing_name.empty() ? LayerKind::dynamic : LayerKind::differencing;
  info.virtual_bytes = header.virtual_bytes;
  info.block_bytes = static_cast<std::uint32_t>(header.cluster_bytes());
  info.id = header.id();
  return info;
}

Result<LayerDescription> describe(const os::File& file, const std::string& path) {
  RS_TRY(auto header, read_header(file));
  LayerDescription description;
  description.info = to_info(header, path);
  if (!header.backing_name.empty()) description.parent = parent_reference(path, header);
  return description;
}

std::optional<ParentReference> Qcow2Layer::parent() const {
  std::shared_lock lock(maps_mutex_);
  if (header_.backing_name.empty()) return {};
  return parent_reference(path_, header_);
}

Lineage Qcow2Layer::lineage() const {
  std::shared_lock lock(maps_mutex_);
  Lineage lineage;
  lineage.parent_path = header_.backing_name;
  lineage.parent_format = format_of_name(header_.text(kBackingFormat));
  lineage.merged_path = header_.text(kMergedPath);
  return lineage;
}

namespace {

bool touch(ByteRange a, ByteRange b) { return !intersect(a, b).empty(); }

// Where a name can lie that does not fit into the first sector: within the first cluster, and on nothing that
// the header as it is in the file refers to.
std::optional<ByteRange> place_for_name(const Header& old, std::uint64_t length) {
  ByteRange extensions{0, old.extensions_end};
  for (auto offset : {std::uint64_t{kSectorBytes}, old.extensions_end, old.backing_place.end()}) {
    ByteRange place{std::max<std::uint64_t>(offset, kSectorBytes), length};
    if (place.end() <= old.cluster_bytes() && !touch(place, extensions) && !touch(place, old.backing_place))
      return place;
  }
  return {};
}

}  // namespace

Result<void> Qcow2Layer::refuse_header_change() const {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (writer_ == nullptr) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  return {};
}

Result<void> Qcow2Layer::set_lineage(const Lineage& lineage) {
  RS_CHECK(refuse_header_change());
  if (lineage.parent_path.size() > kMaxBackingNameBytes)
    return fail(ErrorCode::unsupported,
                path_ + ": the parent's path is longer than 1023 bytes: " + lineage.parent_path);
  auto next = header_;
  next.backing_name = lineage.parent_path;
  next.set_text(kBackingFormat,
                lineage.parent_format ? std::string(format_name(*lineage.parent_format)) : "");
  next.set_text(kMergedPath, lineage.merged_path);
  return write_header(std::move(next));
}

Result<void> Qcow2Layer::set_id(const Guid& id) {
  RS_CHECK(refuse_header_change());
  auto next = header_;
  next.set_id(id);
  return write_header(std::move(next));
}

// One write of the first sector; `next` says where nothing lies yet.
Result<void> Qcow2Layer::write_header(Header next) {
  auto encoded = next.encode_extensions();
  if (encoded.size() > kSectorBytes) {  // a list of names for error messages, which every writer knows
    std::erase_if(next.extensions, [](const auto& each) { return each.type == kFeatureNames; });
    encoded = next.encode_extensions();
  }
  auto name = as_bytes(next.backing_name);
  next.extensions_end = encoded.size();
  next.backing_place = {encoded.size(), name.size()};
  if (name.empty()) {
    next.backing_place = {};
  } else if (encoded.size() + name.size() > kSectorBytes) {
    auto place = place_for_name(header_, name.size());
    if (!place) return no_room();
    next.backing_place = *place;
  }
  if (encoded.size() > kSectorBytes) return no_room();
  encoded = next.encode_extensions();
  encoded.resize(kSectorBytes);
  if (next.backing_place.end() <= kSectorBytes) {
    std::copy(name.begin(), name.end(),
              encoded.begin() + static_cast<std::ptrdiff_t>(next.backing_place.offset));
  } else {
    RS_CHECK(writer_->write_at(next.backing_place.offset, name));
    RS_CHECK(writer_->sync());
  }
  auto written = writer_->write_at(0, encoded);
  if (written) written = writer_->sync();
  if (!written) {
    broken_ = true;  // the file may say either
    return written;
  }
  next.fields = next.encode_fields();
  std::unique_lock lock(maps_mutex_);
  header_ = std::move(next);
  return {};
}

Result<void> Qcow2Layer::no_room() const {
  return fail(ErrorCode::unsupported,
              path_ + ": at offset 0: no room in the header for the parent's name; use qemu-img rebase -u");
}

Result<std::unique_ptr<ImageLayer>> Qcow2Layer::create_child(os::FileSystem& files, const std::string& path,
                                                             const std::string& parent_path) const {
  NewDisk disk;
  disk.virtual_bytes = virtual_bytes();
  disk.cluster_bytes = static_cast<std::uint32_t>(header_.cluster_bytes());
  disk.parent_path = parent_path;
  disk.parent_format = Format::qcow2;
  RS_CHECK(create_file(files, path, disk));
  return Qcow2Layer::open(files, path, Access::write);
}

Result<std::unique_ptr<ImageLayer>> Qcow2Layer::create_twin(os::FileSystem& files,
                                                            const std::string& path) const {
  auto like = lineage();
  NewDisk disk;
  disk.virtual_bytes = virtual_bytes();
  disk.cluster_bytes = cluster_bytes_;
  disk.parent_path = like.parent_path;
  disk.parent_format = like.parent_format;
  disk.id = info().id;
  RS_CHECK(create_file(files, path, disk));
  RS_TRY(auto twin, Qcow2Layer::open(files, path, Access::write));
  twin->keep_id_ = true;
  return std::unique_ptr<ImageLayer>(std::move(twin));
}

}  // namespace roamstead::vdisk::qcow2
