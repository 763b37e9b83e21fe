#include "common/ntfs/volume.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "common/base/text.h"
#include "common/ntfs/directory.h"
#include "common/ntfs/file_record.h"
#include "common/ntfs/mft.h"
#include "common/ntfs/path_cache.h"
#include "common/ntfs/secure.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kVolumeRecord = 3;
constexpr std::uint64_t kSecureRecord = 9;
constexpr std::uint64_t kUpcaseRecord = 10;
constexpr std::uint16_t kDirtyFlag = 1;
constexpr std::size_t kScanAttributes = 64;

class OpenVolume final : public Volume {
 public:
  OpenVolume(const vdisk::BlockDevice& device, const Geometry& geometry, std::unique_ptr<Mft> mft,
             FileReference root)
      : device_(device), geometry_(geometry), mft_(std::move(mft)), paths_(root) {}

  Result<void> read_info();

  const VolumeInfo& info() const override { return info_; }
  const StreamInfo& mft() const override { return mft_->stream(); }
  std::vector<RecordSpan> records_in(ByteRange range) const override { return mft_->records_in(range); }
  Result<Bytes> raw_record(std::uint64_t number) const override { return mft_->raw(number); }
  Result<void> read(const StreamInfo& stream, std::uint64_t offset, MutableByteView out) const override {
    RS_CHECK_CTX(
        fmt::format("stream \"{}\" of MFT record {} of {}", stream.name, stream.record, device_.name()),
        read_stream(device_, geometry_, stream, offset, out));
    return {};
  }

  Result<FileRecord> record(std::uint64_t number) const override;
  Result<std::uint64_t> base_record(std::uint64_t number) const override;
  Result<void> scan(const std::function<bool(std::uint64_t, Result<FileRecord>)>& visit) const override;
  std::vector<StreamExtent> device_extents(const StreamInfo& stream) const override;
  Result<std::string> path_of(const FileRecord& file) const override;
  Result<std::string> path_of(const NameInfo& name) const override;
  Result<FileReference> lookup(const std::string& path) const override;
  Result<std::vector<DirectoryEntry>> list(std::uint64_t directory_record) const override;
  Result<Bytes> security_descriptor(std::uint32_t security_id) const override;

 private:
  Result<LoadedRecord> load_base(std::uint64_t number) const;
  Result<FileRecord> assemble(std::uint64_t number, const RecordHeader& header,
                              const std::vector<AttributeView>& attributes) const;
  Result<std::optional<FileRecord>> parse_scanned(std::uint64_t number, MutableByteView bytes,
                                                  std::vector<AttributeView>& attributes) const;
  Result<NameInfo> directory_name(FileReference directory) const;
  Result<FileReference> find_child(FileReference directory, const std::string& name) const;
  Result<IndexAttributes> directory_index(FileReference directory, bool check_sequence) const;
  const UpcaseTable* upcase() const;
  Result<std::unique_ptr<SecureStore>> load_secure() const;

  const vdisk::BlockDevice& device_;
  const Geometry geometry_;
  const std::unique_ptr<Mft> mft_;
  VolumeInfo info_;
  PathCache paths_;
  mutable std::once_flag upcase_once_;
  mutable std::optional<UpcaseTable> upcase_;
  mutable std::once_flag secure_once_;
  mutable std::optional<Result<std::unique_ptr<SecureStore>>> secure_;
};

Result<void> OpenVolume::read_info() {
  info_.sector_bytes = geometry_.sector_bytes;
  info_.cluster_bytes = geometry_.cluster_bytes;
  info_.record_bytes = geometry_.record_bytes;
  info_.volume_bytes = geometry_.volume_bytes;
  info_.record_count = mft_->record_count();
  RS_TRY(const auto record, load_base(kVolumeRecord));
  bool found = false;
  const auto visit = [&](const AttributeView& attribute) -> Result<void> {
    if (attribute.type == kVolumeName && attribute.resident) info_.label = utf16le_to_wtf8(attribute.value);
    if (attribute.type != kVolumeInformation) return {};
    if (!attribute.resident || attribute.value.size() < 12)
      return fail(ErrorCode::corrupt, "the volume's information is too short");
    const auto major = load_le<std::uint8_t>(attribute.value, 8);
    if (major != 1 && major != 3)
      return fail(ErrorCode::unsupported,
                  fmt::format("NTFS version {}.{}", major, load_le<std::uint8_t>(attribute.value, 9)));
    info_.major_version = major;
    info_.minor_version = load_le<std::uint8_t>(attribute.value, 9);
    info_.flags = load_le<std::uint16_t>(attribute.value, 10);
    info_.dirty = (info_.flags & kDirtyFlag) != 0;
    found = true;
    return {};
  };
  RS_CHECK_CTX(mft_->place(kVolumeRecord),
               mft_->walker().walk({kVolumeRecord, record.header.sequence}, record.attributes, 0, visit));
  if (!found) return fail(ErrorCode::corrupt, mft_->place(kVolumeRecord) + ": no information on the volume");
  return {};
}

Result<LoadedRecord> OpenVolume::load_base(std::uint64_t number) const {
  RS_TRY(auto record, mft_->load(number));
  if (!record.header.in_use) return fail(ErrorCode::not_found, mft_->place(number) + " is free");
  if (record.header.base)
    return fail(ErrorCode::not_found,
                fmt::format("{} is an extension of {}", mft_->place(number), record.header.base->record));
  return record;
}

Result<FileRecord> OpenVolume::assemble(std::uint64_t number, const RecordHeader& header,
                                        const std::vector<AttributeView>& attributes) const {
  auto file = assemble_file(device_, geometry_, mft_->walker(), number, header, attributes);
  if (!file) return fail(std::move(file).error().with(mft_->place(number)));
  return file;
}

Result<FileRecord> OpenVolume::record(std::uint64_t number) const {
  RS_TRY(const auto loaded, load_base(number));
  return assemble(number, loaded.header, loaded.attributes);
}

Result<std::uint64_t> OpenVolume::base_record(std::uint64_t number) const {
  RS_TRY(const auto bytes, mft_->raw(number));
  RS_TRY_CTX(const auto header, mft_->place(number), parse_record_header(bytes, number));
  if (!header.in_use) return fail(ErrorCode::not_found, mft_->place(number) + " is free");
  return header.base ? header.base->record : number;
}

// Nothing for a record that is free or an extension. `bytes` is changed, `attributes` is only there to be
// used again.
Result<std::optional<FileRecord>> OpenVolume::parse_scanned(std::uint64_t number, MutableByteView bytes,
                                                            std::vector<AttributeView>& attributes) const {
  RS_TRY_CTX(const auto header, mft_->place(number), parse_record_header(bytes, number));
  if (!header.in_use || header.base) return std::optional<FileRecord>{};
  RS_CHECK_CTX(mft_->place(number), apply_fixups(bytes));
  RS_CHECK_CTX(mft_->place(number), parse_attributes(bytes, header, attributes));
  RS_TRY(auto file, assemble(number, header, attributes));
  return std::optional<FileRecord>(std::move(file));
}

Result<void> OpenVolume::scan(const std::function<bool(std::uint64_t, Result<FileRecord>)>& visit) const {
  std::vector<AttributeView> attributes;
  attributes.reserve(kScanAttributes);
  return mft_->for_each([&](std::uint64_t number, MutableByteView bytes) {
    auto file = parse_scanned(number, bytes, attributes);
    if (!file && number < 4) return visit(number, record(number));  // there is a mirror for these
    if (!file) return visit(number, fail(std::move(file).error()));
    return !*file || visit(number, std::move(**file));
  });
}

std::vector<StreamExtent> OpenVolume::device_extents(const StreamInfo& stream) const {
  std::vector<StreamExtent> extents;
  for (const auto& run : stream.runs) {
    const auto offset = run.vcn * geometry_.cluster_bytes;
    auto length = run.clusters * geometry_.cluster_bytes;
    if (!stream.compressed)
      length = offset < stream.size_bytes ? std::min(length, stream.size_bytes - offset) : 0;
    if (!run.sparse && length != 0) extents.push_back({offset, {run.lcn * geometry_.cluster_bytes, length}});
  }
  return extents;
}

// The name a directory has in its parent; an error where the reference is stale or not a directory.
Result<NameInfo> OpenVolume::directory_name(FileReference directory) const {
  RS_TRY(auto file, record(directory.record));
  if (file.reference != directory)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: sequence number {}, its child expects {}", mft_->place(directory.record),
                            file.reference.sequence, directory.sequence));
  if (!file.directory)
    return fail(ErrorCode::corrupt, mft_->place(directory.record) + ": a parent but not a directory");
  if (file.names.empty())
    return fail(ErrorCode::corrupt, mft_->place(directory.record) + ": a directory without a name");
  if (file.names.front().name == "." || file.names.front().name == "..")
    return fail(ErrorCode::corrupt,
                mft_->place(directory.record) + ": a directory called " + file.names.front().name);
  return std::move(file.names.front());
}

Result<std::string> OpenVolume::path_of(const FileRecord& file) const {
  if (file.reference.record == kRootRecord) return std::string();
  if (file.names.empty())
    return fail(ErrorCode::corrupt, mft_->place(file.reference.record) + ": a file without a name");
  return path_of(file.names.front());
}

Result<std::string> OpenVolume::path_of(const NameInfo& name) const {
  RS_TRY_CTX(auto path, device_.name(), paths_.directory_path(name.parent, [&](FileReference directory) {
    return directory_name(directory);
  }));
  if (name.name == "." && name.parent.record == kRootRecord) return std::string();  // the root's own name
  if (name.name == "." || name.name == "..") return fail(ErrorCode::corrupt, "a file called " + name.name);
  return path.empty() ? name.name : path + '/' + name.name;
}

Result<IndexAttributes> OpenVolume::directory_index(FileReference directory, bool check_sequence) const {
  RS_TRY(const auto loaded, load_base(directory.record));
  if (check_sequence && loaded.header.sequence != directory.sequence)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: sequence number {}, the index that names it expects {}",
                            mft_->place(directory.record), loaded.header.sequence, directory.sequence));
  if (!loaded.header.directory)
    return fail(ErrorCode::invalid_argument, mft_->place(directory.record) + " is not a directory");
  auto index = load_index(mft_->walker(), geometry_, {directory.record, loaded.header.sequence},
                          loaded.attributes, "$I30");
  if (!index) return fail(std::move(index).error().with(mft_->place(directory.record)));
  return index;
}

Result<std::vector<Volume::DirectoryEntry>> OpenVolume::list(std::uint64_t directory_record) const {
  RS_TRY(const auto index, directory_index({directory_record, 0}, false));
  RS_TRY_CTX(
      const auto tree, mft_->place(directory_record),
      IndexTree::open(device_, geometry_, index.root, index.allocation ? &*index.allocation : nullptr));
  RS_TRY_CTX(auto entries, "directory, " + mft_->place(directory_record), list_directory(tree));
  return entries;
}

Result<FileReference> OpenVolume::find_child(FileReference directory, const std::string& name) const {
  RS_TRY(const auto index, directory_index(directory, true));
  RS_TRY_CTX(
      const auto tree, mft_->place(directory.record),
      IndexTree::open(device_, geometry_, index.root, index.allocation ? &*index.allocation : nullptr));
  RS_TRY_CTX(const auto found, "directory, " + mft_->place(directory.record),
             find_in_directory(tree, name, upcase()));
  if (!found)
    return fail(ErrorCode::not_found,
                fmt::format("\"{}\" is not in the directory of MFT record {}", name, directory.record));
  return *found;
}

Result<FileReference> OpenVolume::lookup(const std::string& path) const {
  RS_TRY(const auto root, load_base(kRootRecord));
  FileReference at{kRootRecord, root.header.sequence};
  for (std::size_t start = 0; start < path.size();) {
    const auto end = std::min(path.find_first_of("/\\", start), path.size());
    if (end != start) {
      RS_TRY_CTX(at, fmt::format("{} on {}", path, device_.name()),
                 find_child(at, path.substr(start, end - start)));
    }
    start = end + 1;
  }
  return at;
}

const UpcaseTable* OpenVolume::upcase() const {
  std::call_once(upcase_once_, [&] {
    const auto file = record(kUpcaseRecord);
    if (!file) return;
    for (const auto& stream : file->streams) {
      if (!stream.name.empty()) continue;
      auto bytes = read_whole(device_, geometry_, stream, UpcaseTable::kUnits * 2);
      if (!bytes) return;
      if (auto table = UpcaseTable::parse(*bytes)) upcase_ = std::move(*table);
    }
  });
  return upcase_ ? &*upcase_ : nullptr;
}

Result<std::unique_ptr<SecureStore>> OpenVolume::load_secure() const {
  RS_TRY(const auto loaded, load_base(kSecureRecord));
  RS_TRY(const auto file, assemble(kSecureRecord, loaded.header, loaded.attributes));
  RS_TRY_CTX(auto ids, mft_->place(kSecureRecord),
             load_index(mft_->walker(), geometry_, file.reference, loaded.attributes, "$SII"));
  for (const auto& stream : file.streams)
    if (stream.name == "$SDS")
      return std::make_unique<SecureStore>(device_, geometry_, stream, std::move(ids));
  return fail(ErrorCode::corrupt, mft_->place(kSecureRecord) + ": $Secure has no stream $SDS");
}

Result<Bytes> OpenVolume::security_descriptor(std::uint32_t security_id) const {
  std::call_once(secure_once_, [&] { secure_ = load_secure(); });
  if (!*secure_) return fail((*secure_).error());
  RS_TRY_CTX(auto descriptor, fmt::format("security descriptor {} of {}", security_id, device_.name()),
             (**secure_)->descriptor(security_id));
  return descriptor;
}

}  // namespace

Result<std::unique_ptr<Volume>> Volume::open(const vdisk::BlockDevice& device) {
  if (device.size_bytes() < kBootSectorBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: {} bytes are no volume", device.name(), device.size_bytes()));
  Bytes sector(kBootSectorBytes);
  RS_CHECK(device.read(0, sector));
  RS_TRY_CTX(const auto geometry, "boot sector of " + device.name(),
             parse_boot_sector(sector, device.size_bytes()));
  RS_TRY(auto mft, Mft::open(device, geometry));
  RS_TRY(const auto root, mft->load(kRootRecord));
  const FileReference root_reference{kRootRecord, root.header.sequence};
  auto volume = std::make_unique<OpenVolume>(device, geometry, std::move(mft), root_reference);
  RS_CHECK(volume->read_info());
  return std::unique_ptr<Volume>(std::move(volume));
}

}  // namespace roamstead::ntfs
