// The parts of a volume's check, each comparing one pair of claims.
#pragma once

#include "common/ntfs/mft.h"
#include "common/ntfs/volume_check.h"

namespace roamstead::ntfs {

class Check {
 public:
  Check(const vdisk::BlockDevice& device, const Geometry& geometry, const Mft& mft, const Volume& volume,
        const VolumeCheckOptions& options)
      : device_(device), geometry_(geometry), mft_(mft), volume_(volume), options_(options) {}

  Result<VolumeCheckReport> run();

  using Severity = vdisk::Finding::Severity;
  void add(Severity severity, std::uint64_t offset, std::string text);
  // At the record's place.
  void add_at_record(Severity severity, std::uint64_t number, std::string text) {
    add(severity, mft_.device_offset(number).value_or(0),
        "record " + std::to_string(number) + ": " + std::move(text));
  }

  const vdisk::BlockDevice& device() const { return device_; }
  const Geometry& geometry() const { return geometry_; }
  const Mft& mft() const { return mft_; }
  const Volume& volume() const { return volume_; }
  const VolumeCheckOptions& options() const { return options_; }
  VolumeCheckReport& report() { return report_; }

  // One pass over the records in use that can be parsed, base records and extensions; for the first four the
  // mirror helps. What cannot be parsed goes to `damaged` when there is one.
  using VisitRecord = std::function<void(std::uint64_t, const LoadedRecord&)>;
  using VisitDamaged = std::function<void(std::uint64_t, const Error&)>;
  Result<void> for_each_record(const VisitRecord& visit, const VisitDamaged& damaged = {});
  // All $FILE_NAME values of a base record, from its extension records too; what cannot be walked is left
  // out.
  void for_each_name(std::uint64_t number, const LoadedRecord& record,
                     const std::function<void(ByteView)>& visit) const;
  // The whole of an attribute of a record; nothing when there is none.
  Result<std::optional<StreamInfo>> stream_of(std::uint64_t number, const LoadedRecord& record,
                                              std::uint32_t type, std::string_view name) const;

 private:
  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  const Mft& mft_;
  const Volume& volume_;
  const VolumeCheckOptions& options_;
  VolumeCheckReport report_;
  std::uint64_t records_done_ = 0;
};

// Bits of a stream, read as they are asked for: mostly in order.
class BitStream {
 public:
  BitStream(const vdisk::BlockDevice& device, const Geometry& geometry, StreamInfo stream)
      : device_(device), geometry_(geometry), stream_(std::move(stream)) {}

  std::uint64_t bits() const { return stream_.size_bytes * 8; }
  // False beyond the end.
  Result<bool> at(std::uint64_t bit);
  // Bits [64 * word, 64 * word + 64); zeros beyond the end.
  Result<std::uint64_t> word(std::uint64_t word);

 private:
  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  StreamInfo stream_;
  std::uint64_t first_byte_ = 0;
  Bytes loaded_;
};

Result<void> check_records(Check& check);
Result<void> check_clusters(Check& check);
Result<void> check_indexes(Check& check);

}  // namespace roamstead::ntfs
