#include "common/ntfs/volume_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/ntfs/check_parts.h"
#include "common/ntfs/directory.h"
#include "common/ntfs/volume_state.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kBitStreamBytes = 64u << 10;
constexpr std::uint64_t kMirrorRecord = 1;
constexpr std::uint64_t kMirroredRecords = 4;

void check_state(Check& check) {
  const auto state = volume_state(check.device());
  if (!state) return check.add(Check::Severity::error, 0, state.error().to_string());
  for (const auto& remark : state->remarks) check.add(Check::Severity::warning, 0, remark);
  if (state->log == LogState::emptied || state->log == LogState::checked)
    check.add(Check::Severity::note, 0, fmt::format("$LogFile is {}", to_string(state->log)));
}

// The boot sector has a copy in the sector behind the volume's last one.
void check_boot_copy(Check& check) {
  const auto at = check.geometry().volume_bytes;
  if (at + kBootSectorBytes > check.device().size_bytes())
    return check.add(Check::Severity::note, at, "no room for a copy of the boot sector behind the volume");
  Bytes first(kBootSectorBytes);
  Bytes copy(kBootSectorBytes);
  if (!check.device().read(0, first) || !check.device().read(at, copy))
    return check.add(Check::Severity::error, at, "the copy of the boot sector cannot be read");
  if (first != copy) check.add(Check::Severity::warning, at, "the copy of the boot sector differs");
}

void check_mirror(Check& check) {
  const auto record = check.mft().load(kMirrorRecord);
  if (!record) return;  // told elsewhere
  const auto stream = check.stream_of(kMirrorRecord, *record, kData, "");
  if (!stream || !*stream)
    return check.add_at_record(Check::Severity::error, kMirrorRecord, "$MFTMirr has no data");
  const auto place = check.geometry().mirror_lcn * check.geometry().cluster_bytes;
  const auto& runs = (*stream)->runs;
  if (runs.empty() || runs.front().lcn != check.geometry().mirror_lcn)
    check.add_at_record(Check::Severity::error, kMirrorRecord,
                        fmt::format("$MFTMirr lies elsewhere than the boot sector says (cluster {})",
                                    check.geometry().mirror_lcn));
  const auto record_bytes = check.geometry().record_bytes;
  for (std::uint64_t number = 0; number < kMirroredRecords; ++number) {
    const auto original = check.mft().raw(number);
    Bytes copy(record_bytes);
    if (!original || !check.device().read(place + number * record_bytes, copy)) continue;
    if (*original != copy)
      check.add(Check::Severity::warning, place + number * record_bytes,
                fmt::format("$MFTMirr: the copy of record {} differs", number));
  }
}

}  // namespace

void Check::add(Severity severity, std::uint64_t offset, std::string text) {
  (severity == Severity::error     ? report_.errors
   : severity == Severity::warning ? report_.warnings
                                   : report_.notes)++;
  if (report_.findings.size() < options_.max_findings)
    report_.findings.push_back({severity, offset, std::move(text)});
}

Result<void> Check::for_each_record(const VisitRecord& visit, const VisitDamaged& damaged) {
  LoadedRecord record;
  return mft_.for_each([&](std::uint64_t number, MutableByteView bytes) {
    if (options_.progress && ++records_done_ % 65536 == 0) options_.progress(records_done_);
    const auto parse = [&]() -> Result<void> {
      RS_TRY(record.header, parse_record_header(bytes, number));
      if (!record.header.in_use) return {};
      record.bytes.assign(bytes.begin(), bytes.end());
      RS_CHECK(apply_fixups(record.bytes));
      return parse_attributes(record.bytes, record.header, record.attributes);
    };
    auto parsed = parse();
    if (!parsed && damaged) damaged(number, parsed.error());
    if (!parsed && number < kMirroredRecords) {
      if (auto mirrored = mft_.load(number)) {
        record = std::move(*mirrored);
        parsed = {};
      }
    }
    if (parsed && record.header.in_use) visit(number, record);
    return true;
  });
}

void Check::for_each_name(std::uint64_t number, const LoadedRecord& record,
                          const std::function<void(ByteView)>& visit) const {
  // A damaged attribute list is a finding of check_records.
  (void)mft_.walker().walk({number, record.header.sequence}, record.attributes, kFileName,
                           [&](const AttributeView& attribute) -> Result<void> {
                             if (attribute.resident) visit(attribute.value);
                             return {};
                           });
}

Result<std::optional<StreamInfo>> Check::stream_of(std::uint64_t number, const LoadedRecord& record,
                                                   std::uint32_t type, std::string_view name) const {
  std::optional<StreamInfo> stream;
  RS_CHECK(mft_.walker().walk({number, record.header.sequence}, record.attributes, type,
                              [&](const AttributeView& attribute) -> Result<void> {
                                if (!has_name(attribute, name)) return {};
                                if (stream) return append_extent(attribute, geometry_, *stream);
                                RS_TRY(stream, begin_stream(attribute, geometry_));
                                return {};
                              }));
  if (stream) RS_CHECK(check_complete(*stream, geometry_));
  return stream;
}

Result<VolumeCheckReport> Check::run() {
  check_state(*this);
  check_boot_copy(*this);
  check_mirror(*this);
  RS_CHECK(check_records(*this));
  RS_CHECK(check_clusters(*this));
  RS_CHECK(check_indexes(*this));
  return std::move(report_);
}

Result<std::uint64_t> BitStream::word(std::uint64_t word) {
  const auto at = word * 8;
  if (at >= stream_.size_bytes) return std::uint64_t{0};
  if (loaded_.empty() || at < first_byte_ || at >= first_byte_ + kBitStreamBytes) {
    first_byte_ = at / kBitStreamBytes * kBitStreamBytes;
    const auto count = std::min<std::uint64_t>(kBitStreamBytes, stream_.size_bytes - first_byte_);
    loaded_.assign(kBitStreamBytes, std::byte{0});
    RS_CHECK(read_stream(device_, geometry_, stream_, first_byte_,
                         MutableByteView(loaded_).first(static_cast<std::size_t>(count))));
  }
  return load_le<std::uint64_t>(loaded_, static_cast<std::size_t>(at - first_byte_));
}

Result<bool> BitStream::at(std::uint64_t bit) {
  RS_TRY(const auto bits, word(bit / 64));
  return (bits >> (bit % 64) & 1) != 0;
}

Result<VolumeCheckReport> check_volume(const vdisk::BlockDevice& device, const VolumeCheckOptions& options) {
  RS_TRY(const auto volume, Volume::open(device));
  Bytes sector(kBootSectorBytes);
  RS_CHECK(device.read(0, sector));
  RS_TRY(const auto geometry, parse_boot_sector(sector, device.size_bytes()));
  RS_TRY(const auto mft, Mft::open(device, geometry));
  return Check(device, geometry, *mft, *volume, options).run();
}

}  // namespace roamstead::ntfs
