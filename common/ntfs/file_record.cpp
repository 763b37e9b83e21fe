#include "common/ntfs/file_record.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kFileNameBytes = 0x42;
constexpr std::uint64_t kMaxReparseBytes = 16u << 10;  // MAXIMUM_REPARSE_DATA_BUFFER_SIZE
constexpr std::uint64_t kMaxSecurityBytes = 64u << 10;

class Assembler {
 public:
  Assembler(const vdisk::BlockDevice& device, const Geometry& geometry, FileRecord& file)
      : device_(device), geometry_(geometry), file_(file) {}

  Result<void> add(const AttributeView& attribute) {
    switch (attribute.type) {
      case kStandardInformation:
        return add_standard_information(attribute);
      case kFileName:
        return add_name(attribute);
      case kSecurityDescriptor:
        return add_security(attribute);
      case kData:
        return add_data(attribute);
      case kReparsePoint:
        return add_reparse(attribute);
      default:
        return {};
    }
  }

 private:
  static tl::unexpected<Error> bad(const AttributeView& attribute, std::string_view what) {
    return fail(ErrorCode::corrupt,
                fmt::format("attribute 0x{:x} at byte {}: {}", attribute.type, attribute.offset, what));
  }

  Result<void> add_standard_information(const AttributeView& attribute) {
    if (!attribute.resident || attribute.value.size() < 36) return bad(attribute, "too short");
    file_.created_100ns = load_le<std::uint64_t>(attribute.value, 0);
    file_.written_100ns = load_le<std::uint64_t>(attribute.value, 8);
    file_.attributes = load_le<std::uint32_t>(attribute.value, 32);
    if (attribute.value.size() >= 56) file_.security_id = load_le<std::uint32_t>(attribute.value, 52);
    return {};
  }

  Result<void> add_name(const AttributeView& attribute) {
    if (!attribute.resident) return bad(attribute, "a name that is not resident");
    auto name = parse_file_name(attribute.value);
    if (!name) return bad(attribute, name.error().message);
    if (name->name_space != NameSpace::dos) file_.names.push_back(std::move(*name));
    return {};
  }

  Result<void> add_data(const AttributeView& attribute) {
    if (attribute.resident || attribute.lowest_vcn == 0) {
      RS_TRY(auto stream, begin_stream(attribute, geometry_));
      for (const auto& other : file_.streams)
        if (other.name == stream.name) return bad(attribute, fmt::format("stream \"{}\" twice", stream.name));
      file_.streams.push_back(std::move(stream));
      return {};
    }
    const auto name = utf16le_to_wtf8(attribute.name);
    auto stream = std::find_if(file_.streams.begin(), file_.streams.end(),
                               [&](const StreamInfo& other) { return other.name == name; });
    if (stream == file_.streams.end()) return bad(attribute, fmt::format("stream \"{}\" has no start", name));
    return append_extent(attribute, geometry_, *stream);
  }

  Result<Bytes> whole(const AttributeView& attribute, std::uint64_t limit_bytes) {
    if (attribute.resident) return to_bytes(attribute.value);
    RS_TRY(auto stream, begin_stream(attribute, geometry_));
    RS_CHECK(check_complete(stream, geometry_));
    auto bytes = read_whole(device_, geometry_, stream, limit_bytes);
    if (!bytes) return bad(attribute, bytes.error().to_string());
    return bytes;
  }

  Result<void> add_reparse(const AttributeView& attribute) {
    RS_TRY(auto value, whole(attribute, kMaxReparseBytes + 24));
    if (value.size() < 8) return bad(attribute, "too short for a reparse point");
    file_.reparse_tag = load_le<std::uint32_t>(value);
    file_.reparse_data.assign(value.begin() + 8, value.end());
    return {};
  }

  Result<void> add_security(const AttributeView& attribute) {
    RS_TRY(file_.own_security_descriptor, whole(attribute, kMaxSecurityBytes));
    return {};
  }

  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  FileRecord& file_;
};

}  // namespace

Result<NameInfo> parse_file_name(ByteView value) {
  if (value.size() < kFileNameBytes) return fail(ErrorCode::corrupt, "too short for a name");
  const std::size_t units = load_le<std::uint8_t>(value, 0x40);
  const auto name_space = load_le<std::uint8_t>(value, 0x41);
  if (units == 0 || kFileNameBytes + units * 2 > value.size() || name_space > 3)
    return fail(ErrorCode::corrupt, fmt::format("a name of {} characters in {} bytes, name space {}", units,
                                                value.size(), name_space));
  NameInfo name;
  name.parent = to_reference(load_le<std::uint64_t>(value));
  name.name_space = static_cast<NameSpace>(name_space);
  const auto text = value.subspan(kFileNameBytes, units * 2);
  // Nearly all names are ASCII.
  name.name.resize(units);
  char16_t all = 0;
  for (std::size_t i = 0; i < units; ++i) {
    const char16_t unit = load_le<std::uint16_t>(text, i * 2);
    if (unit == 0 || unit == '/')
      return fail(ErrorCode::corrupt,
                  fmt::format("a name with the character {} in it", static_cast<unsigned>(unit)));
    name.name[i] = static_cast<char>(unit);
    all |= unit;
  }
  if (all >= 0x80) name.name = utf16le_to_wtf8(text);
  return name;
}

Result<FileRecord> assemble_file(const vdisk::BlockDevice& device, const Geometry& geometry,
                                 const AttributeWalker& walker, std::uint64_t number,
                                 const RecordHeader& header, const std::vector<AttributeView>& attributes) {
  FileRecord file;
  file.reference = {number, header.sequence};
  file.directory = header.directory;
  Assembler assembler(device, geometry, file);
  RS_CHECK(walker.walk(
      file.reference, attributes, 0, [&](const AttributeView& attribute) { return assembler.add(attribute); },
      &file.extension_records));
  for (auto& stream : file.streams) {
    RS_CHECK(check_complete(stream, geometry));
    stream.record = number;
  }
  for (const auto& attribute : attributes) {
    if (attribute.type != kAttributeList || attribute.resident) continue;
    RS_TRY(auto list, begin_stream(attribute, geometry));
    file.attribute_list_runs = std::move(list.runs);
  }
  return file;
}

}  // namespace roamstead::ntfs
