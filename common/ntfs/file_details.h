// Everything the MFT says of one file, for people and for checks: records, attributes, runs, times, names.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

// 100 ns since 1601.
struct FileTimes {
  std::uint64_t created = 0;
  std::uint64_t written = 0;
  std::uint64_t changed = 0;  // the MFT record
  std::uint64_t accessed = 0;

  bool operator==(const FileTimes&) const = default;
};

struct NameDetails {
  NameInfo name;    // pure DOS names too
  FileTimes times;  // as of the last change of the name
  std::uint64_t allocated_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t attributes = 0;
  std::uint64_t record = 0;  // that holds it
};

struct RecordDetails {
  std::uint64_t number = 0;
  std::uint64_t device_offset = 0;
  std::uint16_t sequence = 0;
  std::uint16_t link_count = 0;
  std::uint16_t flags = 0;  // 1 in use, 2 directory, 4 in $Extend, 8 other index than names
  std::uint32_t used_bytes = 0;
  std::uint64_t log_sequence = 0;  // in $LogFile
};

struct AttributeDetails {
  std::uint32_t type = 0;
  std::string type_name;  // "$DATA" …, "" when not known
  std::string name;
  std::uint16_t id = 0;
  std::uint16_t flags = 0;   // 1 compressed, 0x4000 encrypted, 0x8000 sparse
  std::uint64_t record = 0;  // that holds it
  std::uint32_t offset = 0;  // in the record
  bool resident = true;
  std::uint64_t size_bytes = 0;  // of the whole attribute; 0 in its second and later extents
  std::uint64_t valid_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t lowest_vcn = 0;
  std::uint32_t unit_clusters = 0;
  std::vector<Run> runs;  // of this extent
};

struct FileDetails {
  FileReference reference;
  bool in_use = false;
  bool directory = false;
  std::uint32_t file_attributes = 0;  // FILE_ATTRIBUTE_…
  FileTimes times;
  std::uint32_t owner_id = 0;  // of quotas
  std::uint32_t security_id = 0;
  std::uint64_t usn = 0;  // of its last record in the change journal
  std::optional<Guid> object_id;
  std::optional<std::uint32_t> reparse_tag;
  std::vector<NameDetails> names;
  std::vector<RecordDetails> records;  // the base record first
  std::vector<AttributeDetails> attributes;
  std::vector<std::string> problems;  // what could not be read, with its place
};

// Of a file, in use or deleted; ErrorCode::invalid_argument for an extension record (which names its file),
// ErrorCode::corrupt when the base record itself cannot be read. Damage in its parts is told in `problems`.
Result<FileDetails> file_details(const vdisk::BlockDevice& device, std::uint64_t number);

// "$DATA" of 0x80; "" when not known.
std::string_view attribute_type_name(std::uint32_t type);

// A file whose record is free: deleted, and perhaps in part used again.
struct DeletedFile {
  FileRecord file;  // clusters of its runs may belong to others now
  std::string path;
  bool path_known = false;  // else only the part of the path that could be followed, behind "?/"
};
// All free records that still have a name and can be read, in order; stop by returning false.
Result<void> scan_deleted(const vdisk::BlockDevice& device, const std::function<bool(DeletedFile)>& visit);

}  // namespace roamstead::ntfs
