#include "common/ntfs/file_details.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/text.h"
#include "common/ntfs/file_record.h"
#include "common/ntfs/mft.h"
#include "common/ntfs/runs.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kMaxPathSteps = 256;

Result<std::unique_ptr<Mft>> open_mft(const vdisk::BlockDevice& device, Geometry& geometry) {
  Bytes sector(kBootSectorBytes);
  RS_CHECK(device.read(0, sector));
  RS_TRY_CTX(geometry, "boot sector of " + device.name(), parse_boot_sector(sector, device.size_bytes()));
  return Mft::open(device, geometry);
}

FileTimes times_at(ByteView value, std::size_t at) {
  const auto time = [&](std::size_t i) { return load_le<std::uint64_t>(value, at + i * 8); };
  return {time(0), time(1), time(2), time(3)};
}

class Collector {
 public:
  Collector(const Mft& mft, const Geometry& geometry, FileDetails& details)
      : mft_(mft), geometry_(geometry), details_(details) {}

  void add_record(std::uint64_t number, ByteView bytes, const RecordHeader& header,
                  const std::vector<AttributeView>& attributes) {
    details_.records.push_back({number, mft_.device_offset(number).value_or(0), header.sequence,
                                header.link_count, load_le<std::uint16_t>(bytes, 22), header.bytes_in_use,
                                load_le<std::uint64_t>(bytes, 8)});
    for (const auto& attribute : attributes) add_attribute(number, attribute);
  }
  void problem(std::string text) { details_.problems.push_back(std::move(text)); }

 private:
  void add_attribute(std::uint64_t number, const AttributeView& attribute) {
    AttributeDetails out;
    out.type = attribute.type;
    out.type_name = attribute_type_name(attribute.type);
    out.name = utf16le_to_wtf8(attribute.name);
    out.id = attribute.id;
    out.flags = attribute.flags;
    out.record = number;
    out.offset = attribute.offset;
    out.resident = attribute.resident;
    if (attribute.resident) {
      out.size_bytes = out.valid_bytes = attribute.value.size();
      read_value(number, attribute);
    } else {
      if (attribute.lowest_vcn == 0) {
        out.size_bytes = attribute.size_bytes;
        out.valid_bytes = attribute.valid_bytes;
        out.allocated_bytes = attribute.allocated_bytes;
        if (attribute.compression_unit_shift != 0 && attribute.compression_unit_shift < 32)
          out.unit_clusters = 1u << attribute.compression_unit_shift;
      }
      out.lowest_vcn = attribute.lowest_vcn;
      const auto runs = append_runs(attribute.value, attribute.lowest_vcn, attribute.cluster_count,
                                    geometry_.cluster_count, out.runs);
      if (!runs) problem_at(number, attribute, runs.error().to_string());
    }
    details_.attributes.push_back(std::move(out));
  }

  void read_value(std::uint64_t number, const AttributeView& attribute) {
    const auto value = attribute.value;
    if (attribute.type == kStandardInformation && value.size() >= 36) {
      details_.times = times_at(value, 0);
      details_.file_attributes = load_le<std::uint32_t>(value, 32);
      if (value.size() >= 72) {
        details_.owner_id = load_le<std::uint32_t>(value, 48);
        details_.security_id = load_le<std::uint32_t>(value, 52);
        details_.usn = load_le<std::uint64_t>(value, 64);
      }
    } else if (attribute.type == kFileName) {
      auto name = parse_file_name(value);
      if (!name) return problem_at(number, attribute, name.error().message);
      details_.names.push_back({std::move(*name), times_at(value, 8), load_le<std::uint64_t>(value, 40),
                                load_le<std::uint64_t>(value, 48), load_le<std::uint32_t>(value, 56),
                                number});
    } else if (attribute.type == kObjectId && value.size() >= 16) {
      details_.object_id = Guid::from(value.first(16));
    } else if (attribute.type == kReparsePoint && value.size() >= 8) {
      details_.reparse_tag = load_le<std::uint32_t>(value);
    }
  }

  void problem_at(std::uint64_t number, const AttributeView& attribute, std::string_view what) {
    problem(fmt::format("record {}, attribute 0x{:x} at byte {}: {}", number, attribute.type,
                        attribute.offset, what));
  }

  const Mft& mft_;
  const Geometry& geometry_;
  FileDetails& details_;
};

// A free record's own header, fixups taken off; attributes as far as they are sound.
Result<LoadedRecord> load_any(const Mft& mft, std::uint64_t number) {
  LoadedRecord record;
  RS_TRY(record.bytes, mft.raw(number));
  RS_TRY_CTX(record.header, mft.place(number), parse_record_header(record.bytes, number));
  if (all_zero(record.bytes)) return fail(ErrorCode::not_found, mft.place(number) + " was never used");
  RS_CHECK_CTX(mft.place(number), apply_fixups(record.bytes));
  RS_CHECK_CTX(mft.place(number), parse_attributes(record.bytes, record.header, record.attributes));
  return record;
}

// The path of a deleted file's folder, followed through folders that are deleted themselves. A record's
// sequence number grows when it becomes free.
class DeletedPaths {
 public:
  DeletedPaths(const Volume& volume, const Mft& mft) : volume_(volume), mft_(mft) {}

  DeletedFile with_path(FileRecord file) const {
    DeletedFile out;
    out.path = file.names.front().name;
    auto parent = file.names.front().parent;
    out.file = std::move(file);
    for (std::size_t step = 0; step < kMaxPathSteps; ++step) {
      NameInfo child;
      child.parent = parent;
      child.name = out.path;
      if (auto path = volume_.path_of(child)) {
        out.path = std::move(*path);
        out.path_known = true;
        return out;
      }
      const auto folder = load_any(mft_, parent.record);
      if (!folder || folder->header.in_use || !folder->header.directory ||
          folder->header.sequence != static_cast<std::uint16_t>(parent.sequence + 1))
        break;
      const auto name = first_name(*folder);
      if (!name) break;
      out.path.insert(0, name->name + '/');
      parent = name->parent;
    }
    out.path.insert(0, "?/");
    return out;
  }

  static std::optional<NameInfo> first_name(const LoadedRecord& record) {
    for (const auto& attribute : record.attributes) {
      if (attribute.type != kFileName || !attribute.resident) continue;
      if (auto name = parse_file_name(attribute.value); name && name->name_space != NameSpace::dos)
        return std::move(*name);
    }
    return std::nullopt;
  }

 private:
  const Volume& volume_;
  const Mft& mft_;
};

}  // namespace

std::string_view attribute_type_name(std::uint32_t type) {
  switch (type) {
    case kStandardInformation:
      return "$STANDARD_INFORMATION";
    case kAttributeList:
      return "$ATTRIBUTE_LIST";
    case kFileName:
      return "$FILE_NAME";
    case kObjectId:
      return "$OBJECT_ID";
    case kSecurityDescriptor:
      return "$SECURITY_DESCRIPTOR";
    case kVolumeName:
      return "$VOLUME_NAME";
    case kVolumeInformation:
      return "$VOLUME_INFORMATION";
    case kData:
      return "$DATA";
    case kIndexRoot:
      return "$INDEX_ROOT";
    case kIndexAllocation:
      return "$INDEX_ALLOCATION";
    case kBitmap:
      return "$BITMAP";
    case kReparsePoint:
      return "$REPARSE_POINT";
    case kEaInformation:
      return "$EA_INFORMATION";
    case kEa:
      return "$EA";
    case kLoggedUtilityStream:
      return "$LOGGED_UTILITY_STREAM";
    default:
      return "";
  }
}

Result<FileDetails> file_details(const vdisk::BlockDevice& device, std::uint64_t number) {
  Geometry geometry;
  RS_TRY(const auto opened, open_mft(device, geometry));
  const auto& mft = *opened;
  auto loaded = mft.load(number);
  if (loaded && !loaded->header.in_use) loaded = load_any(mft, number);
  if (!loaded) return fail(std::move(loaded).error());
  if (loaded->header.base)
    return fail(ErrorCode::invalid_argument, fmt::format("{} is an extension of {}: ask for that",
                                                         mft.place(number), loaded->header.base->record));
  FileDetails details;
  details.reference = {number, loaded->header.sequence};
  details.in_use = loaded->header.in_use;
  details.directory = loaded->header.directory;
  Collector collector(mft, geometry, details);
  collector.add_record(number, loaded->bytes, loaded->header, loaded->attributes);
  std::vector<std::uint64_t> extensions;
  const auto walked = mft.walker().walk(
      details.reference, loaded->attributes, 0, [](const AttributeView&) { return Result<void>{}; },
      &extensions);
  if (!walked) collector.problem(walked.error().to_string());
  for (const auto extension : extensions) {
    const auto more = mft.load(extension);
    if (more)
      collector.add_record(extension, more->bytes, more->header, more->attributes);
    else
      collector.problem(more.error().to_string());
  }
  return details;
}

Result<void> scan_deleted(const vdisk::BlockDevice& device, const std::function<bool(DeletedFile)>& visit) {
  Geometry geometry;
  RS_TRY(const auto opened, open_mft(device, geometry));
  const auto& mft = *opened;
  RS_TRY(const auto volume, Volume::open(device));
  const DeletedPaths paths(*volume, mft);
  return mft.for_each([&](std::uint64_t number, MutableByteView bytes) {
    const auto header = parse_record_header(bytes, number);
    if (!header || header->in_use || header->base || all_zero(bytes)) return true;
    auto record = load_any(mft, number);
    if (!record) return true;
    auto file = assemble_file(device, geometry, mft.walker(), number, record->header, record->attributes);
    if (!file) {  // extension records that were used again: what the base record itself says
      std::erase_if(record->attributes,
                    [](const AttributeView& attribute) { return attribute.type == kAttributeList; });
      file = assemble_file(device, geometry, mft.walker(), number, record->header, record->attributes);
    }
    if (!file || file->names.empty()) return true;
    return visit(paths.with_path(std::move(*file)));
  });
}

}  // namespace roamstead::ntfs
