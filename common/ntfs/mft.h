// The MFT: where its records lie, and each of them read and checked.
#pragma once

#include "common/ntfs/attribute_list.h"

namespace roamstead::ntfs {

// Immutable once open, so thread-safe.
class Mft {
 public:
  // Reads record 0, and where $MFT is fragmented its attribute list and the extension records in it. The
  // first four records are taken from $MFTMirr where their originals are damaged.
  static Result<std::unique_ptr<Mft>> open(const vdisk::BlockDevice& device, const Geometry& geometry);

  const StreamInfo& stream() const { return stream_; }
  std::uint64_t record_count() const { return record_count_; }
  const AttributeWalker& walker() const { return walker_; }

  // As on disk; not_found beyond the end.
  Result<Bytes> raw(std::uint64_t number) const;
  // Fixups applied, header and attributes parsed (no attributes when the record is free). Errors name the
  // place.
  Result<LoadedRecord> load(std::uint64_t number) const;
  // "MFT record 5 at byte 20480 of disk.raw"
  std::string place(std::uint64_t number) const;
  std::vector<RecordSpan> records_in(ByteRange device_range) const;
  // Where the record starts; nothing beyond the end.
  std::optional<std::uint64_t> device_offset(std::uint64_t number) const;
  // Calls for every record, in order, as on disk, free ones too; stop by returning false. The bytes are the
  // visitor's to change.
  Result<void> for_each(const std::function<bool(std::uint64_t, MutableByteView)>& visit) const;

 private:
  // One run of the MFT, in bytes.
  struct Piece {
    ByteRange device;
    std::uint64_t stream_offset = 0;
  };

  Mft(const vdisk::BlockDevice& device, const Geometry& geometry);
  Result<void> follow_runs(const LoadedRecord& first);
  Result<void> check_runs();
  Result<LoadedRecord> parse(std::uint64_t number, Bytes bytes) const;
  Result<Bytes> mirror(std::uint64_t number) const;

  const vdisk::BlockDevice& device_;
  const Geometry geometry_;
  StreamInfo stream_;
  std::uint64_t record_count_ = 0;
  std::vector<Piece> pieces_;  // by place on the device
  AttributeWalker walker_;
};

}  // namespace roamstead::ntfs
