// Each MFT record by itself, $MFT:$Bitmap, and extension records with their attribute lists.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/ntfs/check_parts.h"
#include "common/ntfs/file_details.h"
#include "common/ntfs/file_record.h"
#include "common/ntfs/reparse.h"
#include "common/ntfs/runs.h"

namespace roamstead::ntfs {
namespace {

// Kept by Windows for itself: their bits are set or not whatever the records say.
constexpr std::uint64_t kFirstFreeRecord = 24;
constexpr std::size_t kMaxSecurityIds = 100'000;

class RecordCheck {
 public:
  explicit RecordCheck(Check& check) : check_(check) {}

  Result<void> run() {
    RS_CHECK(compare_bitmap());
    RS_CHECK(check_.for_each_record(
        [&](std::uint64_t number, const LoadedRecord& record) {
          if (record.header.base)
            extension(number, record);
          else
            base(number, record);
        },
        [&](std::uint64_t number, const Error& error) { bad(number, error.to_string()); }));
    for (const auto& [id, number] : security_ids_)
      if (const auto descriptor = check_.volume().security_descriptor(id); !descriptor)
        bad(number, descriptor.error().to_string());
    return {};
  }

 private:
  void bad(std::uint64_t number, std::string text) {
    check_.add_at_record(Check::Severity::error, number, std::move(text));
  }
  void doubtful(std::uint64_t number, std::string text) {
    check_.add_at_record(Check::Severity::warning, number, std::move(text));
  }

  Result<void> compare_bitmap() {
    const auto record = check_.mft().load(0);
    if (!record) return {};  // told by the scan
    auto stream = check_.stream_of(0, *record, kBitmap, "");
    if (!stream || !*stream) {
      bad(0, "$MFT:$Bitmap cannot be read: " + (stream ? "there is none" : stream.error().to_string()));
      return {};
    }
    BitStream bits(check_.device(), check_.geometry(), std::move(**stream));
    if (bits.bits() < check_.mft().record_count())
      bad(0,
          fmt::format("$MFT:$Bitmap has {} bits for {} records", bits.bits(), check_.mft().record_count()));
    return check_.mft().for_each([&](std::uint64_t number, MutableByteView bytes) {
      const auto header = parse_record_header(bytes, number);
      const auto marked = bits.at(number);
      if (!marked) {
        bad(0, marked.error().to_string());
        return false;
      }
      if (!header) return true;
      if (header->in_use && !*marked) bad(number, "in use, but free in $MFT:$Bitmap");
      if (!header->in_use && *marked && number >= kFirstFreeRecord)
        doubtful(number, "free, but used in $MFT:$Bitmap (leak)");
      return true;
    });
  }

  void base(std::uint64_t number, const LoadedRecord& record) {
    ++(record.header.directory ? check_.report().directories : check_.report().files);
    const auto file = assemble_file(check_.device(), check_.geometry(), check_.mft().walker(), number,
                                    record.header, record.attributes);
    if (!file) return bad(number, file.error().to_string());
    if (file->security_id != 0 && security_ids_.size() < kMaxSecurityIds)
      security_ids_.emplace(file->security_id, number);
    if (file->reparse_tag)
      if (const auto reparse = describe_reparse(*file->reparse_tag, file->reparse_data); reparse.damaged)
        doubtful(number, "reparse point: " + reparse.to_string());
    unsigned names = 0;
    check_.for_each_name(number, record, [&](ByteView) { ++names; });
    if (names != record.header.link_count)
      doubtful(number, fmt::format("{} names, but a link count of {}", names, record.header.link_count));
    for (const auto& attribute : record.attributes) own_runs(number, attribute);
    if (!file->extension_records.empty() || has_list(record))
      compare_list(number, record, file->extension_records);
  }

  static bool has_list(const LoadedRecord& record) {
    return std::any_of(record.attributes.begin(), record.attributes.end(),
                       [](const AttributeView& attribute) { return attribute.type == kAttributeList; });
  }

  // Runs of attributes that assemble_file does not look at, and the size that is said to be allocated.
  void own_runs(std::uint64_t number, const AttributeView& attribute) {
    if (attribute.resident) return;
    std::vector<Run> runs;
    const auto decoded = append_runs(attribute.value, attribute.lowest_vcn, attribute.cluster_count,
                                     check_.geometry().cluster_count, runs);
    const auto where = fmt::format("{} (attribute 0x{:x} at byte {})", attribute_type_name(attribute.type),
                                   attribute.type, attribute.offset);
    if (!decoded) return bad(number, where + ": " + decoded.error().to_string());
    if (attribute.lowest_vcn != 0) return;
    if (attribute.valid_bytes > attribute.size_bytes || attribute.size_bytes > attribute.allocated_bytes)
      bad(number, fmt::format("{}: {} of {} bytes valid, {} allocated", where, attribute.valid_bytes,
                              attribute.size_bytes, attribute.allocated_bytes));
    if (attribute.allocated_bytes % check_.geometry().cluster_bytes != 0 ||
        attribute.allocated_bytes / check_.geometry().cluster_bytes < attribute.cluster_count)
      doubtful(number, fmt::format("{}: {} bytes allocated, but runs of {} clusters", where,
                                   attribute.allocated_bytes, attribute.cluster_count));
  }

  // All attributes of all records of the file must be in its list (that the list's are there, assemble_file
  // knows).
  void compare_list(std::uint64_t number, const LoadedRecord& record,
                    const std::vector<std::uint64_t>& extensions) {
    std::size_t listed = 0;
    (void)check_.mft().walker().walk({number, record.header.sequence}, record.attributes, 0,
                                     [&](const AttributeView&) -> Result<void> {
                                       ++listed;
                                       return {};
                                     });
    std::size_t there = 0;
    const auto count = [&](const std::vector<AttributeView>& attributes) {
      for (const auto& attribute : attributes) there += attribute.type != kAttributeList;
    };
    count(record.attributes);
    for (const auto extension : extensions)
      if (const auto loaded = check_.mft().load(extension)) count(loaded->attributes);
    if (listed != there)
      bad(number, fmt::format("its attribute list names {} attributes of {} that are there", listed, there));
  }

  // An extension must be known to its base.
  void extension(std::uint64_t number, const LoadedRecord& record) {
    for (const auto& attribute : record.attributes) own_runs(number, attribute);
    const auto reference = *record.header.base;
    const auto base = check_.mft().load(reference.record);
    if (!base) return bad(number, "extension of a record that cannot be read: " + base.error().to_string());
    if (!base->header.in_use || base->header.base || base->header.sequence != reference.sequence)
      return bad(number,
                 fmt::format("extension of record {} (sequence {}), which is {}", reference.record,
                             reference.sequence,
                             !base->header.in_use ? "free"
                             : base->header.base  ? "an extension itself"
                                                  : fmt::format("of sequence {}", base->header.sequence)));
    std::vector<std::uint64_t> extensions;
    const auto walked = check_.mft().walker().walk(
        reference, base->attributes, 0, [](const AttributeView&) { return Result<void>{}; }, &extensions);
    if (walked && std::find(extensions.begin(), extensions.end(), number) == extensions.end())
      bad(number,
          fmt::format("extension of record {}, whose attribute list does not name it", reference.record));
  }

  Check& check_;
  std::map<std::uint32_t, std::uint64_t> security_ids_;  // and the first record with it
};

}  // namespace

Result<void> check_records(Check& check) { return RecordCheck(check).run(); }

}  // namespace roamstead::ntfs
