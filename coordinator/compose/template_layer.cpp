#include "coordinator/compose/template_layer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/base/text.h"
#include "common/ntfs3g/library_volume.h"

namespace roamstead::compose {
namespace {

constexpr char kFiller = '\n';  // of files: white space to JSON and PEM

// Protected; owner and group Administrators; SYSTEM and Administrators have full access, inherited by what is
// below: O:BAG:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA).
Bytes administrators_only(ntfs3g::ItemKind kind) {
  constexpr unsigned char
      kDescriptor[] = {0x01, 0x00, 0x04, 0x94, 0x14, 0x00, 0x00, 0x00, 0x24, 0x00, 0x00, 0x00,
                       0x00, 0x00, 0x00, 0x00, 0x34, 0x00, 0x00, 0x00,  // header, offsets of the parts
                       0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x20, 0x00, 0x00, 0x00,
                       0x20, 0x02, 0x00, 0x00,  // S-1-5-32-544
                       0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x20, 0x00, 0x00, 0x00,
                       0x20, 0x02, 0x00, 0x00, 0x02, 0x00, 0x34, 0x00, 0x02, 0x00, 0x00, 0x00,  // two entries
                       0x00, 0x03, 0x14, 0x00, 0xff, 0x01, 0x1f, 0x00,  // allow, inherited, all
                       0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x12, 0x00, 0x00, 0x00,  // S-1-5-18
                       0x00, 0x03, 0x18, 0x00, 0xff, 0x01, 0x1f, 0x00, 0x01, 0x02, 0x00, 0x00,
                       0x00, 0x00, 0x00, 0x05, 0x20, 0x00, 0x00, 0x00, 0x20, 0x02, 0x00, 0x00};
  const auto view = std::as_bytes(std::span(kDescriptor));
  Bytes bytes(view.begin(), view.end());
  constexpr std::size_t kFlagsOfEntries[] = {61, 81};
  if (kind == ntfs3g::ItemKind::file)  // nothing is below it
    for (auto at : kFlagsOfEntries) bytes[at] = std::byte{0};
  return bytes;
}

Result<void> apply_edit(registry::Editor& editor, const RegistryEdit& edit) {
  using Action = RegistryEdit::Action;
  RS_TRY(const auto name, to_utf16(edit.name));
  RS_TRY(const auto root, editor.hive().root());
  if (edit.action == Action::create_key || edit.action == Action::set_value) {
    RS_TRY(const auto key, editor.create_path(root.cell, edit.key));
    if (edit.action == Action::create_key) return {};
    return editor.set_value(key, name, edit.type, edit.data);
  }
  const auto key = editor.hive().find(edit.key);
  if (!key) return key.error().code == ErrorCode::not_found ? Result<void>() : fail(key.error());
  if (edit.action == Action::delete_key) return editor.delete_key(key->cell);
  auto deleted = editor.delete_value(key->cell, name);
  if (!deleted && deleted.error().code == ErrorCode::not_found) return {};
  return deleted;
}

// Writing the volume's files, and who may read them.
class VolumeWriter {
 public:
  explicit VolumeWriter(ntfs3g::LibraryVolume& volume) : volume_(volume) {}

  Result<void> place(const FileEdit& edit) {
    const auto slash = edit.path.rfind('/');
    const auto folder = edit.path.substr(0, slash == std::string::npos ? 0 : slash);
    const auto name = edit.path.substr(slash == std::string::npos ? 0 : slash + 1);
    RS_TRY(const auto directory, make_folder(folder, edit.secret));
    auto file = volume_.find_child(directory, name);
    if (!file && file.error().code == ErrorCode::not_found)
      file = volume_.create(directory, name, ntfs3g::ItemKind::file);
    if (!file) return fail(file.error());
    if (edit.secret) RS_CHECK(volume_.set_security(*file, administrators_only(ntfs3g::ItemKind::file)));
    RS_CHECK(volume_.truncate(*file, "", 0));
    return volume_.write(*file, "", 0, edit.content);
  }

  // Overwrites what changed; the file keeps its clusters.
  Result<void> write_hive(const VolumeHive& before, const registry::Editor& editor) {
    RS_TRY_CTX(const auto file, before.path, volume_.find(before.path));
    const auto bytes = editor.file();
    RangeSet ranges = editor.dirty();
    if (before.was_dirty) ranges.add({0, bytes.size()});
    if (bytes.size() != before.stored_bytes)
      RS_CHECK_CTX(before.path, volume_.truncate(file, "", bytes.size()));
    for (const auto& range : ranges.ranges())
      RS_CHECK_CTX(before.path,
                   volume_.write(file, "", range.offset, bytes.subspan(range.offset, range.length)));
    // A clean hive's logs hold nothing that is not in it; Windows begins new ones.
    for (const auto& path : before.log_paths) {
      RS_TRY_CTX(const auto log, path, volume_.find(path));
      RS_CHECK_CTX(path, volume_.truncate(log, "", 0));
    }
    return {};
  }

 private:
  // Folders that are made here for a secret file are closed too, but for the first two of its path, which
  // others share ("ProgramData/Roamstead").
  Result<ntfs::FileReference> make_folder(const std::string& folder, bool secret) {
    if (secret)
      for (std::size_t slash = 0, depth = 1; slash != std::string::npos; ++depth) {
        slash = folder.find('/', slash + 1);
        const auto part = folder.substr(0, slash);
        if (depth <= 2 || volume_.find(part)) continue;
        RS_TRY(const auto made, volume_.make_directories(part));
        RS_CHECK(volume_.set_security(made, administrators_only(ntfs3g::ItemKind::directory)));
      }
    const auto there = volume_.find(folder);
    if (there) return *there;
    return volume_.make_directories(folder);
  }

  ntfs3g::LibraryVolume& volume_;
};

Result<HiveSlots::Slot> reserve(registry::Editor& editor, const OwnValue& value) {
  auto room = value.edit;
  room.data.assign(value.capacity_bytes, std::byte{0});
  RS_CHECK(apply_edit(editor, room));
  RS_TRY(const auto name, to_utf16(room.name));
  RS_TRY(const auto key, editor.hive().find(room.key));
  RS_TRY(const auto found, editor.hive().find_value(key, name));
  if (!found || found->data_bytes != value.capacity_bytes)
    return fail(ErrorCode::internal, room.key + "\\" + room.name + ": no room was made for it");
  constexpr std::uint64_t kCellHeader = 4;
  return HiveSlots::Slot{room.key,
                         room.name,
                         room.type,
                         value.capacity_bytes,
                         editor.hive().file_offset(found->cell) + kCellHeader + registry::vk::kDataBytes,
                         found->resident
                             ? editor.hive().file_offset(found->cell) + kCellHeader + registry::vk::kData
                             : editor.hive().file_offset(found->data_cell) + kCellHeader};
}

// Where a file lies on the disk. Refuses what cannot be patched in place.
Result<std::vector<DiskExtent>> extents_of(const WindowsDisk& disk, const std::string& path) {
  const auto& volume = disk.volume();
  RS_TRY(const auto reference, volume.lookup(path));
  RS_TRY(const auto record, volume.record(reference.record));
  for (const auto& stream : record.streams) {
    if (!stream.name.empty()) continue;
    if (stream.resident || stream.compressed || stream.encrypted || stream.sparse)
      return fail(ErrorCode::unsupported,
                  path + ": compressed, encrypted or sparse, so that it cannot be changed in place");
    std::vector<DiskExtent> extents;
    for (const auto& extent : volume.device_extents(stream))
      extents.push_back(
          {extent.stream_offset, disk.place().offset_bytes + extent.device.offset, extent.device.length});
    return extents;
  }
  return fail(ErrorCode::corrupt, path + ": has no content");
}

// What is written to a clone's disk, by extents of a file.
Result<void> write_in_place(vdisk::Disk& disk, const std::vector<DiskExtent>& extents, std::uint64_t offset,
                            ByteView data) {
  for (const auto& extent : extents) {
    if (data.empty()) break;
    if (offset < extent.file_offset || offset >= extent.file_offset + extent.bytes) continue;
    const auto inside = offset - extent.file_offset;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), extent.bytes - inside));
    RS_CHECK(disk.write(extent.disk_offset + inside, data.first(count)));
    data = data.subspan(count);
    offset += count;
  }
  if (!data.empty()) return fail(ErrorCode::internal, "a patch lies outside its file");
  return {};
}

constexpr std::size_t kFirstSequence = 4, kSecondSequence = 8, kChecksum = 508;

// Both sequence numbers moved on, and the checksum over the first 508 bytes made right.
Bytes next_base_block(Bytes sector) {
  const auto sequence = load_le<std::uint32_t>(sector, kFirstSequence) + 1;
  store_le<std::uint32_t>(sector, kFirstSequence, sequence);
  store_le<std::uint32_t>(sector, kSecondSequence, sequence);
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < kChecksum; at += 4) sum ^= load_le<std::uint32_t>(sector, at);
  if (sum == 0xFFFFFFFF) sum = 0xFFFFFFFE;
  if (sum == 0) sum = 1;
  store_le<std::uint32_t>(sector, kChecksum, sum);
  return sector;
}

Result<const OwnValue*> value_of(const OwnEdits& own, HiveId hive, const HiveSlots::Slot& slot) {
  for (const auto& value : own.values)
    if (value.edit.hive == hive && value.edit.key == slot.key && value.edit.name == slot.name) {
      const auto bytes = value.edit.data.size();
      const bool fits = bytes == slot.capacity_bytes ||
                        (bytes < slot.capacity_bytes && bytes > registry::kMaxResidentBytes);
      if (!fits || value.edit.type != slot.type) break;
      return &value;
    }
  return fail(ErrorCode::internal,
              slot.key + "\\" + slot.name + ": nothing that fits the template's room for it");
}

Result<void> patch_hive(vdisk::Disk& disk, const HiveSlots& hive, const OwnEdits& own) {
  for (const auto& slot : hive.slots) {
    RS_TRY(const auto* value, value_of(own, hive.hive, slot));
    const auto& data = value->edit.data;
    const auto length = registry_number(static_cast<std::uint32_t>(data.size()));
    RS_CHECK(write_in_place(disk, hive.extents, slot.data_offset, data));
    if (data.size() != slot.capacity_bytes)
      RS_CHECK(write_in_place(disk, hive.extents, slot.length_offset, length));
  }
  return write_in_place(disk, hive.extents, 0, next_base_block(hive.base_block));
}

Result<void> patch_file(vdisk::Disk& disk, const FileSlot& slot, const OwnEdits& own) {
  for (const auto& file : own.files)
    if (file.edit.path == slot.path && file.edit.content.size() <= slot.capacity_bytes) {
      auto content = file.edit.content;
      content.resize(slot.capacity_bytes, static_cast<std::byte>(kFiller));
      return write_in_place(disk, slot.extents, 0, content);
    }
  return fail(ErrorCode::internal, slot.path + ": nothing that fits the template's room for it");
}

using nlohmann::json;

json to_json(const std::vector<DiskExtent>& extents) {
  auto list = json::array();
  for (const auto& extent : extents) list.push_back({extent.file_offset, extent.disk_offset, extent.bytes});
  return list;
}

std::vector<DiskExtent> extents_from(const json& list) {
  std::vector<DiskExtent> extents;
  for (const auto& each : list)
    extents.push_back(
        {each.at(0).get<std::uint64_t>(), each.at(1).get<std::uint64_t>(), each.at(2).get<std::uint64_t>()});
  return extents;
}

HiveSlots hive_from(const json& text) {
  HiveSlots hive;
  const auto name = text.at("hive").get<std::string>();
  for (auto id : kHives)
    if (to_string(id) == name) hive.hive = id;
  for (const auto& byte : text.at("base_block").get<std::vector<std::uint8_t>>())
    hive.base_block.push_back(static_cast<std::byte>(byte));
  if (hive.base_block.size() != registry::kSectorBytes || to_string(hive.hive) != name)
    throw std::invalid_argument("not a hive's first sector");
  hive.extents = extents_from(text.at("extents"));
  for (const auto& slot : text.at("slots"))
    hive.slots.push_back({slot.at("key"), slot.at("name"), slot.at("type"), slot.at("capacity"),
                          slot.at("length_offset"), slot.at("data_offset")});
  return hive;
}

}  // namespace

std::string TemplateLayer::to_json() const {
  json all{{"path", path}, {"hives", json::array()}, {"files", json::array()}};
  for (const auto& hive : hives) {
    std::vector<std::uint8_t> base_block;
    for (auto byte : hive.base_block) base_block.push_back(std::to_integer<std::uint8_t>(byte));
    json one{{"hive", to_string(hive.hive)},
             {"base_block", base_block},
             {"extents", compose::to_json(hive.extents)},
             {"slots", json::array()}};
    for (const auto& slot : hive.slots)
      one["slots"].push_back({{"key", slot.key},
                              {"name", slot.name},
                              {"type", slot.type},
                              {"capacity", slot.capacity_bytes},
                              {"length_offset", slot.length_offset},
                              {"data_offset", slot.data_offset}});
    all["hives"].push_back(std::move(one));
  }
  for (const auto& file : files)
    all["files"].push_back({{"path", file.path},
                            {"capacity", file.capacity_bytes},
                            {"extents", compose::to_json(file.extents)}});
  return all.dump();
}

Result<TemplateLayer> TemplateLayer::parse(const std::string& text, const std::string& source) {
  try {
    const auto all = json::parse(text);
    TemplateLayer layer;
    layer.path = all.at("path");
    for (const auto& hive : all.at("hives")) layer.hives.push_back(hive_from(hive));
    for (const auto& file : all.at("files"))
      layer.files.push_back({file.at("path"), file.at("capacity"), extents_from(file.at("extents"))});
    return layer;
  } catch (const std::exception& error) {
    return fail(ErrorCode::corrupt, source + ": not the description of a template: " + error.what());
  }
}

Result<void> apply_edits(registry::Editor& editor, HiveId hive, const std::vector<RegistryEdit>& edits) {
  for (const auto& edit : edits)
    if (edit.hive == hive)
      RS_CHECK_CTX(fmt::format("{}: {}\\{}\\{}", edit.unit, to_string(hive), edit.key, edit.name),
                   apply_edit(editor, edit));
  return {};
}

namespace {

// The disk at `making`, complete.
Result<TemplateLayer> fill_template(os::FileSystem& files, const WindowsImage& image, const ImageHives& hives,
                                    const std::string& making, const Edits& common, const OwnEdits& own) {
  RS_CHECK(vdisk::create_child(files, image.disk, making));
  TemplateLayer layer;
  {
    RS_TRY(const auto disk, vdisk::Disk::open(files, making, vdisk::Access::write));
    vdisk::SubDevice device(*disk, image.place.offset_bytes, image.place.size_bytes, making);
    RS_TRY(const auto volume, ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
    VolumeWriter writer(*volume);
    for (auto id : kHives) {
      const auto concerns = [&](const RegistryEdit& edit) { return edit.hive == id; };
      const bool is_own = std::any_of(own.values.begin(), own.values.end(),
                                      [&](const OwnValue& value) { return concerns(value.edit); });
      const auto& before = hives.file(id);
      if (!is_own && !before.was_dirty &&
          std::none_of(common.registry.begin(), common.registry.end(), concerns))
        continue;
      RS_TRY(auto editor, registry::Editor::open(before.file, before.path));
      RS_CHECK(apply_edits(editor, id, common.registry));
      HiveSlots slots;
      slots.hive = id;
      for (const auto& value : own.values) {
        if (!concerns(value.edit)) continue;
        RS_TRY_CTX(auto slot, value.edit.unit, reserve(editor, value));
        slots.slots.push_back(std::move(slot));
      }
      editor.finish();
      RS_CHECK(writer.write_hive(before, editor));
      const auto sector = editor.file().first(registry::kSectorBytes);
      slots.base_block.assign(sector.begin(), sector.end());
      if (is_own) layer.hives.push_back(std::move(slots));
    }
    for (const auto& edit : common.files) RS_CHECK_CTX(edit.unit + ": " + edit.path, writer.place(edit));
    for (const auto& file : own.files) {
      auto room = file.edit;
      room.content.assign(file.capacity_bytes, static_cast<std::byte>(kFiller));
      RS_CHECK_CTX(room.unit + ": " + room.path, writer.place(room));
      layer.files.push_back({room.path, file.capacity_bytes, {}});
    }
    RS_CHECK(volume->unmount());
    RS_CHECK(disk->flush());
  }
  {
    RS_TRY(const auto disk, WindowsDisk::open(files, making));
    for (auto& hive : layer.hives) {
      RS_TRY(hive.extents, extents_of(*disk, std::string(path_of(hive.hive))));
    }
    for (auto& file : layer.files) {
      RS_TRY(file.extents, extents_of(*disk, file.path));
    }
  }
  return layer;
}

}  // namespace

std::string making_path_of(const std::string& path) {
  const auto dot = path.rfind('.');
  return path.substr(0, dot) + ".making" + path.substr(dot);
}

Result<TemplateLayer> make_template(os::FileSystem& files, const WindowsImage& image, const ImageHives& hives,
                                    const std::string& path, const Edits& common, const OwnEdits& own) {
  const auto making = making_path_of(path);
  RS_TRY(const bool there, files.exists(path));
  if (there) return fail(ErrorCode::exists, path + ": is there already");
  RS_TRY(const bool left, files.exists(making));
  if (left) RS_CHECK(files.remove(making));
  auto layer = fill_template(files, image, hives, making, common, own);
  if (!layer) {
    (void)files.remove(making);  // it takes room that may be what is missing
    return layer;
  }
  layer->path = path;
  RS_CHECK(files.rename(making, path));
  RS_CHECK(files.sync_directory(os::parent_directory(path)));
  return layer;
}

Result<void> make_clone_disk(os::FileSystem& files, const TemplateLayer& base, const std::string& path,
                             const OwnEdits& own) {
  RS_CHECK(vdisk::create_child(files, base.path, path));
  return patch_clone_disk(files, base, path, own);
}

Result<void> patch_clone_disk(os::FileSystem& files, const TemplateLayer& base, const std::string& path,
                              const OwnEdits& own) {
  RS_TRY(const auto disk, vdisk::Disk::open(files, path, vdisk::Access::write));
  for (const auto& file : base.files) RS_CHECK_CTX(path, patch_file(*disk, file, own));
  for (const auto& hive : base.hives) RS_CHECK_CTX(path, patch_hive(*disk, hive, own));
  return disk->flush();
}

Result<void> place_files(os::FileSystem& files, const std::string& disk_path,
                         const std::vector<FileEdit>& edits) {
  if (edits.empty()) return {};
  RS_TRY(const auto disk, vdisk::Disk::open(files, disk_path, vdisk::Access::write));
  RS_TRY(const auto place, find_windows(*disk));
  vdisk::SubDevice device(*disk, place.offset_bytes, place.size_bytes, disk_path);
  RS_TRY(const auto volume, ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
  VolumeWriter writer(*volume);
  for (const auto& edit : edits) RS_CHECK_CTX(edit.path, writer.place(edit));
  RS_CHECK(volume->unmount());
  return disk->flush();
}

Result<void> make_refreshed_disk(os::FileSystem& files, const TemplateLayer& base,
                                 const std::string& reference, const std::string& path, const OwnEdits& own) {
  RS_CHECK(vdisk::create_child(files, reference, path));
  RS_TRY(const auto disk, vdisk::Disk::open(files, path, vdisk::Access::write));
  // What is not given anew is as in the reference: a join's blob.
  for (const auto& slot : base.files)
    if (std::any_of(own.files.begin(), own.files.end(),
                    [&](const OwnFile& file) { return file.edit.path == slot.path; }))
      RS_CHECK_CTX(path, patch_file(*disk, slot, own));
  return disk->flush();
}

}  // namespace roamstead::compose
