// roamstead disk …: virtual disks and their layers.
#include <filesystem>
#include <iostream>

#include "common/volume/partition.h"
#include "coordinator/cli/verbs.h"
#include "coordinator/cli/volume_text.h"
#include "coordinator/diskfs/disk_control.h"
#include "coordinator/diskfs/disk_json.h"
#include "coordinator/diskfs/disk_mount.h"
#include "coordinator/foreign/nbd_disk.h"

namespace roamstead::cli {
namespace {

using diskcontrol::DiskControl;
using nlohmann::json;
using vdisk::Access;
using vdisk::Disk;

os::FileSystem& files() { return os::real_file_system(); }

struct DiskOptions {
  std::string path;
  std::string parent;
  std::string format;
  bool fixed = false;
  vdisk::OpenOptions open;
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes = 0;  // the format's usual one
  std::string partition;
  std::size_t layer = 0;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  diskfs::MountOptions mount;
  std::string control;
};

// The connection to whoever has the disk mounted; nothing when nobody has.
Result<std::optional<DiskControl>> mounted(const DiskOptions& options) {
  auto socket = options.control.empty() ? diskcontrol::default_socket(options.path) : options.control;
  auto control = DiskControl::connect(socket);
  if (control) return std::optional<DiskControl>(std::move(*control));
  if (control.error().code == ErrorCode::unavailable && options.control.empty())
    return std::optional<DiskControl>{};
  return fail(std::move(control).error());
}

std::string short_id(const Guid& id) { return id.is_zero() ? "-" : id.to_string(); }

Result<void> show_info(const Context& context, const DiskOptions& options) {
  RS_TRY(auto control, mounted(options));
  std::vector<vdisk::LayerInfo> layers;
  std::vector<std::optional<std::uint64_t>> held;
  std::string problem;  // the disk cannot be used, but described
  Printed volumes{json::array(), ""};
  if (control) {
    RS_TRY(layers, control->info());
    held.resize(layers.size());
  } else {
    auto opened = foreign::open_any_disk(files(), options.path, options.open);
    if (!opened) {
      problem = opened.error().to_string();
      auto open = options.open;
      open.missing_parent = true;
      opened = foreign::open_any_disk(files(), options.path, open);
    }
    RS_TRY(auto disk, std::move(opened));
    layers = disk->layers();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      RS_TRY(auto extents, disk->extents(i));
      held.push_back(extents.total_bytes());
    }
    if (problem.empty()) volumes = describe_volumes(*disk);
  }
  auto list = json::array();
  std::vector<std::vector<std::string>> rows{{"LAYER", "KIND", "HOLDS", "ID", "PATH"}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto described = diskcontrol::to_json(layers[i]);
    if (held[i]) described["held_bytes"] = *held[i];
    rows.push_back({std::to_string(i),
                    described["format"].get<std::string>() + " " + described["kind"].get<std::string>(),
                    held[i] ? human_bytes(*held[i]) : "-", short_id(layers[i].id), layers[i].path});
    list.push_back(std::move(described));
  }
  auto size = layers.empty() ? 0 : layers.front().virtual_bytes;
  json described{{"path", options.path},
                 {"virtual_bytes", size},
                 {"mounted", control.has_value()},
                 {"layers", list},
                 {"volumes", volumes.json}};
  if (!problem.empty()) described["problem"] = problem;
  context.print(described, options.path + ": " + human_bytes(size) + (control ? ", mounted\n" : "\n") +
                               table(rows) + volumes.text + (problem.empty() ? "" : "\n" + problem));
  return {};
}

Result<void> create(const Context& context, const DiskOptions& options) {
  if (options.parent.empty() == (options.size_bytes == 0))
    return fail(ErrorCode::invalid_argument, "give either --size or --parent");
  if (!options.parent.empty()) {
    RS_CHECK(vdisk::create_child(files(), options.parent, options.path));
  } else {
    vdisk::CreateOptions create;
    create.block_bytes = options.block_bytes;
    if (options.fixed) create.kind = vdisk::LayerKind::fixed;
    if (!options.format.empty()) {
      RS_TRY(create.format, vdisk::parse_format(options.format));
    } else if (auto named = format_for(options.path)) {
      create.format = *named;
    }
    RS_CHECK(vdisk::create_disk(files(), options.path, options.size_bytes, create));
  }
  if (!options.partition.empty()) {
    RS_TRY(auto disk, Disk::open(files(), options.path, Access::write));
    RS_TRY(auto partition, volume::create_single_partition(*disk, options.partition));
  }
  RS_TRY(auto info, vdisk::inspect(files(), options.path));
  context.print(diskcontrol::to_json(info), options.path + ": " + human_bytes(info.virtual_bytes) +
                                                (info.id.is_zero() ? "" : ", id " + info.id.to_string()));
  return {};
}

Result<void> show_extents(const Context& context, const DiskOptions& options) {
  RS_TRY(auto disk, foreign::open_any_disk(files(), options.path, options.open));
  RS_TRY(auto extents, disk->extents(options.layer));
  auto list = json::array();
  std::string text;
  for (auto range : extents.ranges()) {
    list.push_back({{"offset", range.offset}, {"length", range.length}});
    text += std::to_string(range.offset) + " " + std::to_string(range.length) + "\n";
  }
  context.print({{"layer", options.layer}, {"bytes", extents.total_bytes()}, {"extents", list}}, text);
  return {};
}

Result<void> cat(const DiskOptions& options) {
  constexpr std::uint64_t kChunk = 1u << 20;
  RS_TRY(auto disk, foreign::open_any_disk(files(), options.path, options.open));
  if (options.offset > disk->size_bytes())
    return fail(ErrorCode::invalid_argument,
                options.path + ": ends at " + std::to_string(disk->size_bytes()));
  auto left = std::min(options.length.value_or(~std::uint64_t{0}), disk->size_bytes() - options.offset);
  Bytes buffer(std::min(left, kChunk));
  for (auto offset = options.offset; left > 0;) {
    auto part = MutableByteView(buffer).first(std::min(left, kChunk));
    RS_CHECK(disk->read(offset, part));
    std::cout.write(reinterpret_cast<const char*>(part.data()), static_cast<std::streamsize>(part.size()));
    if (!std::cout) return fail(ErrorCode::io, "cannot write to standard output");
    offset += part.size();
    left -= part.size();
  }
  std::cout.flush();
  return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
}

Result<void> mount(const Context& context, DiskOptions options) {
  std::error_code error;
  auto& mount = options.mount;
  mount.disk_path = std::filesystem::absolute(options.path, error).lexically_normal().string();
  mount.mount_point = std::filesystem::absolute(mount.mount_point, error).lexically_normal().string();
  mount.control_path = options.control.empty() ? diskcontrol::default_socket(mount.disk_path)
                                               : std::filesystem::absolute(options.control, error).string();
  if (mount.read_only && options.control.empty()) mount.control_path.clear();  // readers may be many
  context.print(
      {{"disk", mount.disk_path}, {"mount_point", mount.mount_point}, {"control", mount.control_path}},
      context.json ? "" : "mounting " + mount.disk_path + " at " + mount.mount_point);
  std::cout.flush();
  return diskfs::mount_disk(mount);
}

Result<void> snapshot(const Context& context, const DiskOptions& options) {
  RS_TRY(auto control, mounted(options));
  Disk::Frozen frozen;
  if (control) {
    RS_TRY(frozen, control->freeze());
  } else {
    RS_TRY(auto disk, Disk::open(files(), options.path, Access::write));
    RS_TRY(frozen, disk->freeze());
  }
  context.print(diskcontrol::to_json(frozen),
                "frozen " + frozen.frozen_path +
                    (frozen.frozen_id.is_zero() ? "" : ", id " + frozen.frozen_id.to_string()));
  return {};
}

Result<void> merge(const Context& context, const DiskOptions& options) {
  RS_TRY(auto control, mounted(options));
  if (control) {
    RS_CHECK(control->merge(options.layer));
  } else {
    RS_TRY(auto disk, Disk::open(files(), options.path, Access::write));
    RS_CHECK(disk->merge(options.layer));
  }
  context.print({{"merged", options.layer}}, "merged layer " + std::to_string(options.layer));
  return {};
}

}  // namespace

void add_disk_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("disk", "Virtual disks and their layers");
  noun->require_subcommand(1);
  auto options = std::make_shared<DiskOptions>();
  // Every verb names a disk, and says how to reach whoever has it mounted.
  auto verb = [&](const std::string& name, const std::string& description,
                  std::function<Result<void>()> action) {
    auto* added = context.verb(*noun, name, description, std::move(action));
    added->add_option("DISK", options->path, "The top layer: a VHDX, VHD, qcow2 or raw file")->required();
    return added;
  };
  auto add_control = [&](CLI::App* to) {
    to->add_option("--control", options->control, "Socket of the mounted disk (default: DISK.control)");
  };

  auto* info_verb =
      verb("info", "Show the chain of layers", [&context, options] { return show_info(context, *options); });
  add_control(info_verb);
  auto add_reading = [&](CLI::App* to) {
    add_reading_options(to, options->open);
    to->add_flag("--missing-parent", options->open.missing_parent,
                 "Open without the parent; only what is not there cannot be read");
  };
  add_reading_options(info_verb, options->open);

  auto* create_verb = verb("create", "Make an empty disk, or an empty child of another",
                           [&context, options] { return create(context, *options); });
  create_verb->add_option("--size", options->size_bytes, "Size of a new disk, like 2G")
      ->transform(CLI::AsSizeValue(false));
  create_verb->add_option("--parent", options->parent, "Disk to make a child of, in its format");
  create_verb->add_option("--format", options->format,
                          "vhdx, vhd or qcow2 (default: by DISK's name, else vhdx)");
  create_verb->add_flag("--fixed", options->fixed, "Take all the space of a new disk at once");
  create_verb
      ->add_option("--block-size", options->block_bytes,
                   "Allocation unit of a new disk (default 2M; qcow2 64K)")
      ->transform(CLI::AsSizeValue(false));
  create_verb->add_option("--partition", options->partition, "Write a GPT with one partition of this name");

  auto* extents_verb =
      verb("extents", "List the ranges that a layer itself holds: offset and length in bytes",
           [&context, options] { return show_extents(context, *options); });
  extents_verb->add_option("--layer", options->layer, "From the top, 0, down");
  add_reading(extents_verb);

  auto* cat_verb =
      verb("cat", "Write the disk's bytes to standard output", [options] { return cat(*options); });
  add_reading(cat_verb);
  cat_verb->add_option("--offset", options->offset, "First byte")->transform(CLI::AsSizeValue(false));
  cat_verb->add_option("--length", options->length, "How many bytes")->transform(CLI::AsSizeValue(false));

  auto* mount_verb =
      verb("mount",
           "Serve the flat disk (disk.raw) and its partitions (p1.raw …) as files; end with fusermount3 -u",
           [&context, options] { return mount(context, *options); });
  mount_verb->add_option("MOUNTPOINT", options->mount.mount_point, "An empty folder")->required();
  mount_verb->add_flag("--read-only", options->mount.read_only, "Do not lock the top layer for writing");
  mount_verb->add_flag("--write-back", options->mount.write_back,
                       "Keep writes in memory until the file system flushes them, as a guest does: faster");
  mount_verb->add_flag("--foreground", options->mount.foreground, "Stay in the foreground");
  add_control(mount_verb);

  auto* snapshot_verb =
      verb("snapshot", "Freeze the disk as it is and go on in a new layer; also while it is mounted",
           [&context, options] { return snapshot(context, *options); });
  add_control(snapshot_verb);

  auto* merge_verb =
      verb("merge", "Merge a frozen layer with the one beneath it; also while the disk is mounted",
           [&context, options] { return merge(context, *options); });
  merge_verb->add_option("--layer", options->layer,
                         "From the top, 0, down (default 1: the newest frozen one)");
  merge_verb->preparse_callback([options](std::size_t) { options->layer = 1; });
  add_control(merge_verb);
  add_disk_file_verbs(*noun, context);
}

}  // namespace roamstead::cli
