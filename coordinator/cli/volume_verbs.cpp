// roamstead volume …: files on an NTFS volume of a disk, read without mounting it.
#include <fmt/format.h>

#include <iostream>

#include "common/ntfs/wof.h"
#include "coordinator/cli/verbs.h"
#include "coordinator/cli/volume_device.h"
#include "coordinator/cli/volume_text.h"

namespace roamstead::cli {
namespace {

struct VolumeOptions {
  std::string disk;
  std::string path;
  std::string stream;
  std::optional<std::uint64_t> record;
  std::uint32_t partition = 0;
  bool deleted = false;
};

struct OpenVolume {
  VolumeDevice device;
  std::unique_ptr<ntfs::Volume> volume;
};

Result<OpenVolume> open_volume(const VolumeOptions& options) {
  OpenVolume opened;
  RS_TRY(opened.device, open_volume_device(options.disk, options.partition));
  RS_TRY(opened.volume, ntfs::Volume::open(opened.device.device()));
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

// All deleted files whose records still say what they were, wherever they lay.
Result<void> list_deleted(const Context& context, const VolumeOptions& options) {
  RS_TRY(const auto device, open_volume_device(options.disk, options.partition));
  auto rows = nlohmann::json::array();
  std::vector<std::vector<std::string>> cells;
  RS_CHECK(ntfs::scan_deleted(device.device(), [&](ntfs::DeletedFile deleted) {
    auto row = describe(deleted.path, deleted.file.reference, deleted.file);
    row.json["deleted"] = true;
    row.json["path_known"] = deleted.path_known;
    rows.push_back(std::move(row.json));
    cells.push_back(std::move(row.cells));
    return true;
  }));
  context.print({{"deleted", true}, {"entries", rows}}, table(cells));
  return {};
}

Result<void> list(const Context& context, const VolumeOptions& options) {
  if (options.deleted) return list_deleted(context, options);
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

// Of a file when there is a path or a record number, else of the volume.
Result<void> show(const Context& context, const VolumeOptions& options) {
  RS_TRY(const auto device, open_volume_device(options.disk, options.partition));
  if (options.path.empty() && !options.record) {
    RS_TRY(const auto state, ntfs::volume_state(device.device()));
    auto described = describe_state(state);
    if (state.kind == ntfs::VolumeKind::ntfs) {
      RS_TRY(const auto volume, ntfs::Volume::open(device.device()));
      add_info(described, volume->info());
      add_change_journal(described, *volume);
    }
    context.print(described.json, described.text);
    return {};
  }
  RS_TRY(const auto volume, ntfs::Volume::open(device.device()));
  auto number = options.record.value_or(0);
  if (!options.record) {
    RS_TRY(const auto reference, volume->lookup(options.path));
    number = reference.record;
  }
  RS_TRY(const auto details, ntfs::file_details(device.device(), number));
  const auto described = describe_file(*volume, details);
  context.print(described.json, described.text);
  return {};
}

Result<void> check(const Context& context, const VolumeOptions& options) {
  RS_TRY(const auto device, open_volume_device(options.disk, options.partition));
  ntfs::VolumeCheckOptions check_options;
  check_options.progress = [&](std::uint64_t done) { context.progress("MFT records compared", done, 0); };
  RS_TRY(const auto report, ntfs::check_volume(device.device(), check_options));
  context.end_progress();
  const auto described = describe_report(report);
  context.print(described.json, described.text);
  return report.errors == 0 ? Result<void>{}
                            : fail(ErrorCode::corrupt, options.disk + ": the check found errors");
}

}  // namespace

void add_volume_verbs(CLI::App& app, Context& context) {
  auto* noun = app.add_subcommand("volume", "Files on an NTFS volume of a disk, read without mounting it");
  noun->require_subcommand(1);
  auto options = std::make_shared<VolumeOptions>();
  auto verb = [&](const std::string& name, const std::string& description,
                  std::function<Result<void>()> action) {
    auto* added = context.verb(*noun, name, description, std::move(action));
    added
        ->add_option("DISK", options->disk,
                     "A virtual disk, any layer of a chain; DISK:NUMBER chooses a partition")
        ->required();
    added->add_option("--partition", options->partition, "Number of the partition (default: the only one)");
    return added;
  };
  auto* ls_verb = verb("ls", "List a folder", [&context, options] { return list(context, *options); });
  ls_verb->add_option("PATH", options->path, "Path on the volume (default: the root)");
  ls_verb->add_flag("--deleted", options->deleted, "All deleted files of the volume that are still known");
  auto* cat_verb =
      verb("cat", "Write a file's content to standard output", [options] { return cat(*options); });
  cat_verb->add_option("PATH", options->path, "Path on the volume")->required();
  cat_verb->add_option("--stream", options->stream, "An alternate stream instead of the file's data");
  auto* stat_verb = verb("stat", "Show everything of a file, or without PATH the state of the volume",
                         [&context, options] { return show(context, *options); });
  stat_verb->add_option("PATH", options->path, "Path on the volume; / for the root");
  stat_verb->add_option("--record", options->record,
                        "Number of an MFT record instead of a path; deleted ones too");
  verb("check", "Compare what the volume's structures say of each other; changes nothing",
       [&context, options] { return check(context, *options); });
}

}  // namespace roamstead::cli
