#include "common/vdisk/qcow2_format.h"

#include <algorithm>

namespace roamstead::vdisk::qcow2 {
namespace {

constexpr std::size_t kFieldsBytes2 = 72;   // of version 2
constexpr std::size_t kFieldsBytes3 = 104;  // at least
constexpr std::size_t kMaxFieldsBytes = 448;
// More than any list of extensions takes; QEMU's own ends within the first kilobyte.
constexpr std::uint64_t kMaxExtensionBytes = 64u << 10;

class HeaderReader {
 public:
  explicit HeaderReader(const os::File& file) : file_(file) {}

  Result<Header> read() {
    RS_TRY(file_bytes_, file_.size());
    if (file_bytes_ < kSectorBytes) return refuse(file_bytes_, "the file ends within the header");
    Bytes sector(kSectorBytes);
    RS_CHECK(file_.read_exactly(0, sector));
    RS_CHECK(read_fields(sector));
    RS_CHECK(check_features());
    RS_CHECK(check_tables());
    RS_CHECK(read_backing_name());
    RS_CHECK(read_extensions());
    return std::move(header_);
  }

 private:
  tl::unexpected<Error> refuse(std::uint64_t offset, const std::string& what,
                               ErrorCode code = ErrorCode::corrupt) const {
    return fail(code, file_.path() + ": at offset " + std::to_string(offset) + ": " + what);
  }
  tl::unexpected<Error> unsupported(std::uint64_t offset, const std::string& what) const {
    return refuse(offset, what, ErrorCode::unsupported);
  }

  Result<void> read_fields(ByteView sector) {
    if (load_be<std::uint32_t>(sector, 0) != kMagic)
      return refuse(0, "the qcow2 signature \"QFI\\xfb\" expected");
    auto& header = header_;
    header.version = load_be<std::uint32_t>(sector, 4);
    if (header.version != 2 && header.version != 3)
      return unsupported(4, "version " + std::to_string(header.version) + " of qcow2; 2 or 3 expected");
    header.backing_place = {load_be<std::uint64_t>(sector, 8), load_be<std::uint32_t>(sector, 16)};
    header.cluster_bits = load_be<std::uint32_t>(sector, 20);
    header.virtual_bytes = load_be<std::uint64_t>(sector, 24);
    if (auto method = load_be<std::uint32_t>(sector, 32); method != 0)
      return unsupported(32, "the disk is encrypted (method " + std::to_string(method) +
                                 "); convert it with qemu-img to one that is not");
    header.l1_entries = load_be<std::uint32_t>(sector, 36);
    header.l1_offset = load_be<std::uint64_t>(sector, 40);
    header.refcount_table_offset = load_be<std::uint64_t>(sector, 48);
    header.refcount_table_clusters = load_be<std::uint32_t>(sector, 56);
    header.snapshots = load_be<std::uint32_t>(sector, 60);
    std::size_t fields = kFieldsBytes2;
    if (header.version >= 3) {
      header.incompatible = load_be<std::uint64_t>(sector, 72);
      header.compatible = load_be<std::uint64_t>(sector, 80);
      header.autoclear = load_be<std::uint64_t>(sector, 88);
      header.refcount_order = load_be<std::uint32_t>(sector, 96);
      fields = load_be<std::uint32_t>(sector, 100);
      if (fields < kFieldsBytes3 || fields > kMaxFieldsBytes || fields % 8 != 0)
        return refuse(100, "a header of " + std::to_string(fields) + " bytes");
    }
    header.fields = to_bytes(sector.first(fields));
    return {};
  }

  Result<void> check_features() {
    auto features = header_.incompatible;
    if (features & kExternalData)
      return unsupported(72, "the disk keeps its data in a file of its own, which is not supported");
    if (features & kExtendedL2)
      return unsupported(72, "extended L2 entries (subclusters) are not supported; convert it with qemu-img");
    features &= ~(kDirty | kCorrupt | kCompressionType);
    if (features != 0)
      return unsupported(
          72, "an unknown incompatible feature, bit " + std::to_string(std::countr_zero(features)));
    return {};
  }

  Result<void> check_tables() {
    const auto& header = header_;
    if (header.cluster_bits < 9 || header.cluster_bits > 21)
      return refuse(20,
                    "clusters of 2^" + std::to_string(header.cluster_bits) + " bytes; 2^9 to 2^21 expected");
    if (header.refcount_order > 6)
      return refuse(96, "refcounts of 2^" + std::to_string(header.refcount_order) + " bits");
    auto size = header.virtual_bytes;
    if (size == 0 || size % kSectorBytes != 0)
      return unsupported(24, "a size of " + std::to_string(size) + " bytes; whole sectors of 512 expected");
    auto needed = l1_entries_for(size, header.cluster_bits);
    if (header.l1_entries < needed)
      return refuse(36, "an L1 table of " + std::to_string(header.l1_entries) +
                            " entries for a disk that takes " + std::to_string(needed));
    RS_CHECK(
        check_place(40, "the L1 table", header.l1_offset, std::uint64_t{header.l1_entries} * 8, kMaxL1Bytes));
    return check_place(48, "the refcount table", header.refcount_table_offset,
                       header.refcount_table_clusters * header.cluster_bytes(), kMaxRefcountTableBytes);
  }

  Result<void> check_place(std::uint64_t field, const std::string& what, std::uint64_t offset,
                           std::uint64_t length, std::uint64_t limit) const {
    if (length == 0 || length > limit)
      return refuse(field, what + " has " + std::to_string(length) + " bytes; up to " +
                               std::to_string(limit) + " expected");
    if (offset < header_.cluster_bytes() || offset % header_.cluster_bytes() != 0 || offset > file_bytes_ ||
        length > file_bytes_ - offset)
      return refuse(field, what + " is said to be at " + std::to_string(offset) + ", " +
                               std::to_string(length) + " bytes; a whole cluster within the file expected");
    return {};
  }

  Result<void> read_backing_name() {
    auto place = header_.backing_place;
    if (place.offset == 0) {
      header_.backing_place = {};
      return {};
    }
    auto cluster = header_.cluster_bytes();
    if (place.length == 0 || place.length > kMaxBackingNameBytes || place.offset < header_.fields.size() ||
        place.offset > cluster || place.length > cluster - place.offset)
      return refuse(8, "the parent's name is said to be at " + std::to_string(place.offset) + ", " +
                           std::to_string(place.length) +
                           " bytes; up to 1023 within the first cluster expected");
    Bytes name(place.length);
    RS_CHECK(file_.read_exactly(place.offset, name));
    header_.backing_name = std::string(as_text(name));
    if (header_.backing_name.find('\0') != std::string::npos)
      return refuse(place.offset, "the parent's name contains a zero byte");
    // "json:{…}", "nbd://…"; a single letter is a Windows drive.
    auto colon = header_.backing_name.find_first_of(":/\\");
    if (colon != std::string::npos && colon > 1 && header_.backing_name[colon] == ':')
      return unsupported(place.offset, "the parent is no plain file: " + header_.backing_name);
    return {};
  }

  Result<void> read_extensions() {
    auto& header = header_;
    std::uint64_t end =
        header.backing_place.offset != 0 ? header.backing_place.offset : header.cluster_bytes();
    end = std::min({end, file_bytes_, kMaxExtensionBytes});
    Bytes area(end);
    RS_CHECK(file_.read_exactly(0, area));
    std::uint64_t at = header.fields.size();
    while (at + 8 <= end) {
      auto type = load_be<std::uint32_t>(area, at);
      auto length = load_be<std::uint32_t>(area, at + 4);
      if (type == 0) {
        at += 8;
        break;
      }
      if (length > end - at - 8)
        return refuse(at, "a header extension of " + std::to_string(length) + " bytes, " +
                              std::to_string(end - at - 8) + " left");
      header.extensions.push_back({type, to_bytes(ByteView(area).subspan(at + 8, length))});
      at += 8 + (length + 7) / 8 * 8;
    }
    header.extensions_end = std::min(at, end);
    return {};
  }

  const os::File& file_;
  std::uint64_t file_bytes_ = 0;
  Header header_;
};

}  // namespace

Result<bool> has_signature(const os::File& file) {
  Bytes start(4);
  RS_TRY(auto count, file.read_at(0, start));
  return count == start.size() && load_be<std::uint32_t>(start) == kMagic;
}

Result<Header> read_header(const os::File& file) { return HeaderReader(file).read(); }

std::uint64_t l1_entries_for(std::uint64_t virtual_bytes, std::uint32_t cluster_bits) {
  auto bits = 2 * cluster_bits - 3;
  return (virtual_bytes >> bits) + ((virtual_bytes & ((std::uint64_t{1} << bits) - 1)) != 0 ? 1 : 0);
}

const Extension* Header::find(std::uint32_t type) const {
  for (const auto& each : extensions)
    if (each.type == type) return &each;
  return nullptr;
}

std::string Header::text(std::uint32_t type) const {
  const auto* found = find(type);
  return found == nullptr ? std::string() : std::string(as_text(found->data));
}

void Header::set_text(std::uint32_t type, const std::string& text) {
  auto place =
      std::find_if(extensions.begin(), extensions.end(), [&](const auto& each) { return each.type == type; });
  if (text.empty()) {
    if (place != extensions.end()) extensions.erase(place);
  } else if (place != extensions.end()) {
    place->data = to_bytes(text);
  } else {
    extensions.insert(extensions.begin(), {type, to_bytes(text)});
  }
}

Guid Header::id() const {
  const auto* found = find(kLayerId);
  const bool valid =
      version >= 3 && (autoclear & kIdIsValid) != 0 && found != nullptr && found->data.size() == 16;
  return valid ? Guid::from(found->data) : Guid{};
}

void Header::set_id(const Guid& id) {
  std::erase_if(extensions, [](const auto& each) { return each.type == kLayerId; });
  autoclear = 0;
  if (version < 3 || id.is_zero()) return;
  extensions.insert(extensions.begin(), {kLayerId, to_bytes(ByteView(id.bytes))});
  autoclear = kIdIsValid;
}

Bytes Header::encode_fields() const {
  auto out = fields;
  if (out.empty()) out.resize(kFieldsBytes3 + 8);  // with the compression type: zlib
  store_be<std::uint32_t>(out, 0, kMagic);
  store_be<std::uint32_t>(out, 4, version);
  store_be<std::uint64_t>(out, 8, backing_place.offset);
  store_be<std::uint32_t>(out, 16, static_cast<std::uint32_t>(backing_place.length));
  store_be<std::uint32_t>(out, 20, cluster_bits);
  store_be<std::uint64_t>(out, 24, virtual_bytes);
  store_be<std::uint32_t>(out, 36, l1_entries);
  store_be<std::uint64_t>(out, 40, l1_offset);
  store_be<std::uint64_t>(out, 48, refcount_table_offset);
  store_be<std::uint32_t>(out, 56, refcount_table_clusters);
  store_be<std::uint32_t>(out, 60, snapshots);
  if (version < 3) return out;
  store_be<std::uint64_t>(out, 72, incompatible);
  store_be<std::uint64_t>(out, 80, compatible);
  store_be<std::uint64_t>(out, 88, autoclear);
  store_be<std::uint32_t>(out, 96, refcount_order);
  store_be<std::uint32_t>(out, 100, static_cast<std::uint32_t>(out.size()));
  return out;
}

Bytes Header::encode_extensions() const {
  auto out = encode_fields();
  for (const auto& each : extensions) {
    auto at = out.size();
    out.resize(at + 8 + (each.data.size() + 7) / 8 * 8);
    store_be<std::uint32_t>(out, at, each.type);
    store_be<std::uint32_t>(out, at + 4, static_cast<std::uint32_t>(each.data.size()));
    std::copy(each.data.begin(), each.data.end(), out.begin() + static_cast<std::ptrdiff_t>(at) + 8);
  }
  out.resize(out.size() + 8);
  return out;
}

std::string_view format_name(Format format) {
  return format == Format::vhd ? std::string_view("vpc") : to_string(format);
}

std::optional<Format> format_of_name(std::string_view name) {
  for (auto format : {Format::raw, Format::vhdx, Format::vhd, Format::qcow2})
    if (name == format_name(format)) return format;
  return {};
}

}  // namespace roamstead::vdisk::qcow2
