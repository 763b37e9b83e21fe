// A volume of file records in memory, for tests of what looks at records and runs alone.
#pragma once

#include <algorithm>
#include <set>
#include <vector>

#include "common/ntfs/volume.h"

namespace roamstead::extract {

// Its MFT and its names are not looked at.
class StreamVolume final : public ntfs::Volume {
 public:
  StreamVolume() { info_.cluster_bytes = 4096; }
  const ntfs::VolumeInfo& info() const override { return info_; }
  Result<ntfs::FileRecord> record(std::uint64_t number) const override {
    if (damaged.count(number) != 0) return fail(ErrorCode::corrupt, "torn");
    if (number >= 24 && number - 24 < files.size() && free.count(number) == 0) return files[number - 24];
    return fail(ErrorCode::not_found, "free");
  }
  Result<Bytes> raw_record(std::uint64_t) const override { return Bytes(); }
  Result<std::uint64_t> base_record(std::uint64_t number) const override { return number; }
  Result<void> scan(
      const std::function<bool(std::uint64_t, Result<ntfs::FileRecord>)>& visit) const override {
    for (std::size_t i = 0; i < files.size(); ++i)
      if (free.count(24 + i) == 0 && !visit(24 + i, record(24 + i))) break;
    return {};
  }
  const ntfs::StreamInfo& mft() const override { return mft_; }
  std::vector<ntfs::RecordSpan> records_in(ByteRange) const override { return {}; }
  std::vector<ntfs::StreamExtent> device_extents(const ntfs::StreamInfo&) const override { return {}; }
  Result<std::string> path_of(const ntfs::FileRecord&) const override { return std::string(); }
  Result<std::string> path_of(const ntfs::NameInfo&) const override { return std::string(); }
  Result<ntfs::FileReference> lookup(const std::string&) const override {
    return fail(ErrorCode::not_found, "");
  }
  Result<std::vector<DirectoryEntry>> list(std::uint64_t) const override {
    return std::vector<DirectoryEntry>();
  }
  Result<void> read(const ntfs::StreamInfo& stream, std::uint64_t offset,
                    MutableByteView out) const override {
    std::copy_n(stream.resident_data.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<Bytes> security_descriptor(std::uint32_t) const override { return Bytes(); }

  std::vector<ntfs::FileRecord> files;  // from record 24 on
  std::set<std::uint64_t> damaged, free;
  ntfs::VolumeInfo info_;

 private:
  ntfs::StreamInfo mft_;
};

}  // namespace roamstead::extract
