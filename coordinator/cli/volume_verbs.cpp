// roamstead volume …: files on an NTFS volume of a disk, read without mounting it.
#include <fmt/format.h>

#include <iostream>

#include "common/ntfs/wof.h"
#include "common/vdisk/disk.h"
#include "common/volume/partition.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

struct VolumeOptions {
  std::string disk;
  std::string path;
  std::string stream;
  std::uint32_t partition = 0;
};

// A disk, the partition chosen and the volume in it; each needs the one before.
struct OpenVolume {
  std::unique_ptr<vdisk::Disk> disk;
  std::unique_ptr<vdisk::SubDevice> partition;
  std::unique_ptr<ntfs::Volume> volume;
};

Result<std::optional<volume::Partition>> choose_partition(const vdisk::Disk& disk, std::uint32_t number) {
  RS_TRY(auto table, volume::read_partition_table(disk));
  if (table.kind == volume::TableKind::none) {
    if (number > 1) return fail(ErrorCode::not_found, disk.name() + ": has no partition table");
    return std::optional<volume::Partition>{};
  }
  std::string numbers;
  for (const auto& each : table.partitions) {
    if (each.number == number || (number == 0 && table.partitions.size() == 1)) return std::optional(each);
    numbers += (numbers.empty() ? "" : ", ") + std::to_string(each.number);
  }
  if (number == 0)
    return fail(ErrorCode::invalid_argument,
                disk.name() + ": has the partitions " + numbers + "; choose by --partition");
  return fail(ErrorCode::not_found, disk.name() + ": has no partition " + std::to_string(number));
}

Result<OpenVolume> open_volume(const VolumeOptions& options) {
  OpenVolume opened;
  RS_TRY(opened.disk, vdisk::Disk::open(os::real_file_system(), options.disk, vdisk::Access::read));
  RS_TRY(auto partition, choose_partition(*opened.disk, options.partition));
  if (partition)
    opened.partition =
        std::make_unique<vdisk::SubDevice>(*opened.disk, partition->offset_bytes, partition->size_bytes,
                                           options.disk + ", partition " + std::to_string(partition->number));
  const vdisk::BlockDevice& device =
      partition ? static_cast<const vdisk::BlockDevice&>(*opened.partition) : *opened.disk;
  RS_TRY(opened.volume, ntfs::Volume::open(device));
  return opened;
}

const ntfs::StreamInfo* find_stream(const ntfs::FileRecord& file, const std::string& name) {
  for (const auto& stream : file.streams)
    if (stream.name == name) return &stream;
  return nullptr;
}

struct Row {
  nlohmann::json json;
  std::vector<std::string> cells;
};

Row describe(const std::string& name, ntfs::FileReference reference, const Result<ntfs::FileRecord>& file) {
  Row row{{{"name", name}, {"record", reference.record}, {"sequence", reference.sequence}}, {}};
  if (!file) {
    row.json["error"] = file.error().to_string();
    row.cells = {"damaged", "", std::to_string(reference.record), name};
    return row;
  }
  const auto* data = find_stream(*file, "");
  auto size = data == nullptr ? 0 : data->size_bytes;
  row.json["directory"] = file->directory;
  row.json["size"] = size;
  row.json["attributes"] = file->attributes;
  row.json["created_100ns"] = file->created_100ns;
  row.json["written_100ns"] = file->written_100ns;
  auto streams = nlohmann::json::array();
  for (const auto& stream : file->streams)
    if (!stream.name.empty()) streams.push_back({{"name", stream.name}, {"size", stream.size_bytes}});
  row.json["streams"] = streams;
  row.cells = {file->directory     ? "dir"
               : file->reparse_tag ? "link"
                                   : "file",
               file->directory ? "" : human_bytes(size), std::to_string(reference.record), name};
  return row;
}

Result<void> list(const Context& context, const VolumeOptions& options) {
  RS_TRY(auto opened, open_volume(options));
  RS_TRY(auto reference, opened.volume->lookup(options.path));
  RS_TRY(auto file, opened.volume->record(reference.record));
  std::vector<ntfs::Volume::DirectoryEntry> entries;
  if (file.directory) {
    RS_TRY(entries, opened.volume->list(reference.record));
  } else {
    entries.push_back({options.path, reference});
  }
  auto rows = nlohmann::json::array();
  std::vector<std::vector<std::string>> cells;
  for (const auto& entry : entries) {
    auto row = describe(entry.name, entry.reference, opened.volume->record(entry.reference.record));
    rows.push_back(std::move(row.json));
    cells.push_back(std::move(row.cells));
  }
  context.print({{"path", options.path}, {"entries", rows}}, table(cells));
  return {};
}

Result<void> cat(const VolumeOptions& options) {
  constexpr std::uint64_t kChunk = 1u << 20;
  RS_TRY(auto opened, open_volume(options));
  RS_TRY(auto reference, opened.volume->lookup(options.path));
  RS_TRY(auto file, opened.volume->record(reference.record));
  RS_TRY_CTX(const auto content, options.path, ntfs::FileContent::open(*opened.volume, file, options.stream));
  Bytes buffer(std::min(content.size_bytes(), kChunk));
  for (std::uint64_t offset = 0; offset < content.size_bytes();) {
    auto part = MutableByteView(buffer).first(std::min(kChunk, content.size_bytes() - offset));
    RS_CHECK_CTX(options.path, content.read(offset, part));
    std::cout.write(reinterpret_cast<const char*>(part.data()), static_cast<std::streamsize>(part.size()));
    if (!std::cout) return fail(ErrorCode::io, "cannot write to standard output");
    offset += part.size();
  }
  std::cout.flush();
  return std::cout ? Result<void>{} : fail(ErrorCode::io, "cannot write to standard output");
}

}  // namespace

void add_volume_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("volume", "Files on an NTFS volume of a disk, read without mounting it");
  noun->require_subcommand(1);
  auto options = std::make_shared<VolumeOptions>();
  auto verb = [&](const std::string& name, const std::string& description,
                  std::function<Result<void>()> action) {
    auto* added = context.verb(*noun, name, description, std::move(action));
    added->add_option("DISK", options->disk, "A VHDX or raw file, any layer of a chain")->required();
    added->add_option("--partition", options->partition, "Number of the partition (default: the only one)");
    return added;
  };
  verb("ls", "List a folder", [&context, options] {
    return list(context, *options);
  })->add_option("PATH", options->path, "Path on the volume (default: the root)");
  auto* cat_verb =
      verb("cat", "Write a file's content to standard output", [options] { return cat(*options); });
  cat_verb->add_option("PATH", options->path, "Path on the volume")->required();
  cat_verb->add_option("--stream", options->stream, "An alternate stream instead of the file's data");
}

}  // namespace roamstead::cli
