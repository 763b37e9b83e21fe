// An NTFS volume, read-only. Everything on it is hostile: all structures are checked before use, all loops
// are bounded.
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/vdisk/block_device.h"

namespace roamstead::ntfs {

// A file's MFT record number and the sequence number that tells reuses of the record apart.
struct FileReference {
  std::uint64_t record = 0;  // 48 bits
  std::uint16_t sequence = 0;

  auto operator<=>(const FileReference&) const = default;
};
inline constexpr std::uint64_t kRootRecord = 5;

struct VolumeInfo {
  std::uint32_t sector_bytes = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t record_bytes = 0;
  std::uint64_t volume_bytes = 0;
  std::uint64_t record_count = 0;
  bool dirty = false;  // VOLUME_IS_DIRTY
  std::string label;
  std::uint8_t major_version = 0;  // of NTFS: 3.1 since Windows XP
  std::uint8_t minor_version = 0;
  std::uint16_t flags = 0;  // of $VOLUME_INFORMATION
};

// One contiguous piece of a non-resident stream.
struct Run {
  std::uint64_t vcn = 0;
  std::uint64_t lcn = 0;  // meaningless when sparse
  std::uint64_t clusters = 0;
  bool sparse = false;
};

struct StreamInfo {
  std::string name;          // "" for the unnamed data stream
  std::uint64_t record = 0;  // base record of its file, for messages
  std::uint64_t size_bytes = 0;
  std::uint64_t valid_bytes = 0;  // beyond it the content is zero
  bool resident = false;
  bool compressed = false;
  bool encrypted = false;
  bool sparse = false;
  std::vector<Run> runs;  // ascending, without gaps; empty when resident
  Bytes resident_data;
  // Of compressed streams that are not resident: what is compressed together. A power of two.
  std::uint32_t unit_clusters = 0;
};

enum class NameSpace : std::uint8_t { posix = 0, win32 = 1, dos = 2, win32_and_dos = 3 };
struct NameInfo {
  FileReference parent;
  std::string name;  // WTF-8
  NameSpace name_space = NameSpace::posix;
};

// A file with all its extension records folded in.
struct FileRecord {
  FileReference reference;
  bool directory = false;
  std::uint32_t attributes = 0;     // FILE_ATTRIBUTE_… of $STANDARD_INFORMATION
  std::uint64_t created_100ns = 0;  // since 1601
  std::uint64_t written_100ns = 0;
  std::uint32_t security_id = 0;  // into $Secure
  std::optional<std::uint32_t> reparse_tag;
  Bytes reparse_data;             // what follows the tag's 8-byte header
  Bytes own_security_descriptor;  // self-relative, where the file has one of its own (before NTFS 3) instead
                                  // of an id
  std::vector<NameInfo> names;    // without pure DOS names
  std::vector<StreamInfo> streams;  // $DATA only
  std::vector<std::uint64_t> extension_records;
  std::vector<Run> attribute_list_runs;  // where the list of them lies, when it is not resident
};

// Record numbers [first, first + count).
struct RecordSpan {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  bool operator==(const RecordSpan&) const = default;
};

// Bytes of a stream that lie together on the device.
struct StreamExtent {
  std::uint64_t stream_offset = 0;
  ByteRange device;

  bool operator==(const StreamExtent&) const = default;
};

class Volume {
 public:
  // The device must outlive the volume.
  static Result<std::unique_ptr<Volume>> open(const vdisk::BlockDevice& device);
  virtual ~Volume() = default;

  virtual const VolumeInfo& info() const = 0;

  // All below are thread-safe.
  // The base record in use with this number; ErrorCode::not_found when free, an extension record, or beyond
  // the end; ErrorCode::corrupt (with the offset on the device) when torn or malformed.
  virtual Result<FileRecord> record(std::uint64_t number) const = 0;
  // Raw MFT record as on disk (fixups not applied), for comparison.
  virtual Result<Bytes> raw_record(std::uint64_t number) const = 0;
  // The base record that record `number` belongs to (itself when it is one); not_found when free.
  virtual Result<std::uint64_t> base_record(std::uint64_t number) const = 0;
  // Calls for every base record in use, in order, damaged ones as an error; stop by returning false. One pass
  // over the MFT.
  virtual Result<void> scan(const std::function<bool(std::uint64_t, Result<FileRecord>)>& visit) const = 0;
  // Where the MFT itself lies on the volume, as a stream.
  virtual const StreamInfo& mft() const = 0;
  // The numbers of the records that have bytes in this range of the device, ascending; for changed blocks.
  virtual std::vector<RecordSpan> records_in(ByteRange device_range) const = 0;
  // Where the bytes of a stream lie on the device, in the stream's order: only what is stored below the
  // stream's size (nothing for resident streams and holes). Of compressed streams all clusters; their bytes
  // are not those at stream_offset.
  virtual std::vector<StreamExtent> device_extents(const StreamInfo& stream) const = 0;

  // Of the record's own names: "a/b/c" from the volume's root, "" for the root. Parents are followed by
  // reference; a parent whose sequence number differs, or a cycle, is an error.
  virtual Result<std::string> path_of(const FileRecord& file) const = 0;
  virtual Result<std::string> path_of(const NameInfo& name) const = 0;
  // By path ('/' or '\'), without regard to case unless an exact match exists.
  virtual Result<FileReference> lookup(const std::string& path) const = 0;
  // From the directory's index ($I30); without DOS names, and without the root's entry for itself.
  struct DirectoryEntry {
    std::string name;
    FileReference reference;
  };
  virtual Result<std::vector<DirectoryEntry>> list(std::uint64_t directory_record) const = 0;

  // Reads of a stream: sparse parts and bytes beyond valid_bytes are zero, compressed streams are
  // decompressed (whole units of them, mostly 64 KiB: read larger pieces). Encrypted streams: unsupported.
  // What WOF compressed is read by common/ntfs/wof.h.
  virtual Result<void> read(const StreamInfo& stream, std::uint64_t offset, MutableByteView out) const = 0;
  // Self-relative security descriptor of an id in $Secure.
  virtual Result<Bytes> security_descriptor(std::uint32_t security_id) const = 0;
};

}  // namespace roamstead::ntfs
