#include "common/vdisk/vhd_format.h"

#include <algorithm>
#include <bit>

#include "common/base/text.h"

namespace roamstead::vdisk::vhd {
namespace {

constexpr std::size_t kFooterChecksum = 64;
constexpr std::size_t kHeaderChecksum = 36;
constexpr std::uint32_t kVersion1 = 0x00010000;
constexpr std::size_t kNameUnits = 256;

// One's complement of the sum of all bytes but the checksum's own.
std::uint32_t checksum(ByteView bytes, std::size_t field) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (i < field || i >= field + 4) sum += std::to_integer<std::uint32_t>(bytes[i]);
  return ~sum;
}

Result<bool> read_at_most(const os::File& file, std::uint64_t offset, MutableByteView out) {
  RS_TRY(auto count, file.read_at(offset, out));
  return count == out.size();
}

bool usable(const Footer& footer, bool ignore_checksum) {
  return footer.has_cookie() && (ignore_checksum || footer.checksum_is_right());
}

std::string at(const os::File& file, std::uint64_t offset) {
  return file.path() + ": at offset " + std::to_string(offset) + ": ";
}

}  // namespace

Geometry Geometry::of(std::uint64_t virtual_bytes) {
  auto total = std::min<std::uint64_t>(virtual_bytes / kSectorBytes, 65535ull * 16 * 255);
  std::uint64_t sectors = 0, heads = 0, tracks = 0;
  if (total >= 65535ull * 16 * 63) {
    sectors = 255;
    heads = 16;
    tracks = total / sectors;
  } else {
    sectors = 17;
    tracks = total / sectors;
    heads = std::max<std::uint64_t>((tracks + 1023) / 1024, 4);
    if (tracks >= heads * 1024 || heads > 16) {
      sectors = 31;
      heads = 16;
      tracks = total / sectors;
    }
    if (tracks >= heads * 1024) {
      sectors = 63;
      heads = 16;
      tracks = total / sectors;
    }
  }
  return {static_cast<std::uint16_t>(tracks / heads), static_cast<std::uint8_t>(heads),
          static_cast<std::uint8_t>(sectors)};
}

Footer Footer::make(DiskType type, std::uint64_t virtual_bytes, const Guid& id, std::uint32_t now) {
  Footer footer;
  auto& bytes = footer.bytes;
  auto put = [&](std::size_t offset, std::string_view text) {
    std::copy_n(as_bytes(text).begin(), text.size(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  put(0, "conectix");
  store_be<std::uint32_t>(bytes, 8, 2);  // "reserved", always set
  store_be<std::uint32_t>(bytes, 12, kVersion1);
  store_be<std::uint64_t>(bytes, 16, type == DiskType::fixed ? ~std::uint64_t{0} : kUsualHeaderOffset);
  store_be<std::uint32_t>(bytes, 24, now);
  // As Hyper-V: some readers take the size from the geometry for creators they do not know.
  put(28, "win ");
  store_be<std::uint32_t>(bytes, 32, 0x000a0000);
  put(36, "Wi2k");
  store_be<std::uint64_t>(bytes, 40, virtual_bytes);
  store_be<std::uint64_t>(bytes, 48, virtual_bytes);
  auto geometry = Geometry::of(virtual_bytes);
  store_be<std::uint16_t>(bytes, 56, geometry.cylinders);
  bytes[58] = static_cast<std::byte>(geometry.heads);
  bytes[59] = static_cast<std::byte>(geometry.sectors);
  store_be<std::uint32_t>(bytes, 60, static_cast<std::uint32_t>(type));
  std::copy(id.bytes.begin(), id.bytes.end(), bytes.begin() + 68);
  footer.seal();
  return footer;
}

bool Footer::checksum_is_right() const {
  return load_be<std::uint32_t>(bytes, kFooterChecksum) == checksum(bytes, kFooterChecksum);
}

Geometry Footer::geometry() const {
  return {load_be<std::uint16_t>(bytes, 56), std::to_integer<std::uint8_t>(bytes[58]),
          std::to_integer<std::uint8_t>(bytes[59])};
}

void Footer::set_data_offset(std::uint64_t offset) {
  store_be<std::uint64_t>(bytes, 16, offset);
  seal();
}

void Footer::set_id(const Guid& id) {
  std::copy(id.bytes.begin(), id.bytes.end(), bytes.begin() + 68);
  seal();
}

void Footer::seal() { store_be<std::uint32_t>(bytes, kFooterChecksum, checksum(bytes, kFooterChecksum)); }

Header Header::make(std::uint64_t table_offset, std::uint32_t entries, std::uint32_t block_bytes) {
  Header header;
  auto& bytes = header.bytes;
  auto cookie = as_bytes("cxsparse");
  std::copy(cookie.begin(), cookie.end(), bytes.begin());
  store_be<std::uint64_t>(bytes, 8, ~std::uint64_t{0});
  store_be<std::uint64_t>(bytes, 16, table_offset);
  store_be<std::uint32_t>(bytes, 24, kVersion1);
  store_be<std::uint32_t>(bytes, 28, entries);
  store_be<std::uint32_t>(bytes, 32, block_bytes);
  header.seal();
  return header;
}

bool Header::checksum_is_right() const {
  return load_be<std::uint32_t>(bytes, kHeaderChecksum) == checksum(bytes, kHeaderChecksum);
}

std::optional<std::int64_t> Header::parent_modified() const {
  auto seconds = load_be<std::uint32_t>(bytes, 56);
  if (seconds == 0) return {};
  return kEpoch2000 + seconds;
}

std::string Header::parent_name() const {
  std::u16string name;
  for (std::size_t i = 0; i < kNameUnits; ++i) {
    auto unit = load_be<std::uint16_t>(bytes, 64 + i * 2);
    if (unit == 0) break;
    name.push_back(static_cast<char16_t>(unit));
  }
  return to_wtf8(name);
}

ByteRange Header::locator_place(std::size_t index) const {
  auto entry = 576 + index * 24;
  return {load_be<std::uint64_t>(bytes, entry + 16), load_be<std::uint32_t>(bytes, entry + 8)};
}

// Our own children do not record the parent's time: its id changes with its content.
void Header::set_parent(const Guid& id, const std::string& name, std::optional<std::int64_t> modified) {
  std::copy(id.bytes.begin(), id.bytes.end(), bytes.begin() + 40);
  store_be<std::uint32_t>(bytes, 56, modified ? static_cast<std::uint32_t>(*modified - kEpoch2000) : 0);
  auto units = to_utf16(name).value_or(std::u16string());
  for (std::size_t i = 0; i < kNameUnits; ++i)
    store_be<std::uint16_t>(bytes, 64 + i * 2, i < units.size() && i + 1 < kNameUnits ? units[i] : u'\0');
}

void Header::set_locator(std::size_t index, std::uint32_t code, ByteRange place) {
  auto entry = 576 + index * 24;
  store_be<std::uint32_t>(bytes, entry, code);
  // The specification counts the space in sectors, Windows in bytes; readers go by the length.
  auto space = (place.length + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  store_be<std::uint32_t>(bytes, entry + 4, static_cast<std::uint32_t>(space));
  store_be<std::uint32_t>(bytes, entry + 8, static_cast<std::uint32_t>(place.length));
  store_be<std::uint32_t>(bytes, entry + 12, 0);
  store_be<std::uint64_t>(bytes, entry + 16, place.offset);
}

void Header::seal() { store_be<std::uint32_t>(bytes, kHeaderChecksum, checksum(bytes, kHeaderChecksum)); }

Result<FoundFooter> read_footer(const os::File& file, bool ignore_checksum) {
  RS_TRY(auto size, file.size());
  FoundFooter found;
  Footer copy;
  RS_TRY(bool copy_read, read_at_most(file, 0, copy.bytes));
  // A fixed disk has no copy: its first sector is the guest's.
  bool copy_good = copy_read && usable(copy, ignore_checksum) &&
                   copy.type() != static_cast<std::uint32_t>(DiskType::fixed);
  bool end_good = false;
  for (auto length : {kFooterBytes, kFooterBytes - 1}) {
    if (size < length || end_good) continue;
    found.footer = {};
    RS_CHECK(file.read_exactly(size - length, MutableByteView(found.footer.bytes).first(length)));
    end_good = usable(found.footer, ignore_checksum);
    found.offset = size - length;
    found.short_footer = end_good && length != kFooterBytes;
  }
  if (!end_good) {
    if (!copy_good)
      return fail(ErrorCode::corrupt,
                  at(file, size < kFooterBytes ? 0 : size - kFooterBytes) +
                      "a VHD footer (\"conectix\") with the right checksum expected, and none is at the "
                      "file's start either");
    found.footer = copy;
    found.offset = size;
    found.at_end = false;
  }
  found.copy_is_equal = copy_good && copy == found.footer;
  auto type = found.footer.type();
  auto where = found.at_end ? found.offset : 0;
  if (type < 2 || type > 4)
    return fail(ErrorCode::corrupt, at(file, where + 60) + "disk type " + std::to_string(type) +
                                        "; 2 (fixed), 3 (dynamic) or 4 (differencing) expected");
  if (found.footer.format_version() >> 16 != 1)
    return fail(ErrorCode::unsupported, at(file, where + 12) + "VHD of version " +
                                            std::to_string(found.footer.format_version() >> 16) +
                                            "; 1 expected");
  return found;
}

Result<bool> has_footer(const os::File& file) {
  Footer copy;
  RS_TRY(bool there, read_at_most(file, 0, copy.bytes));
  if (there && copy.has_cookie() && copy.checksum_is_right()) return true;
  RS_TRY(auto size, file.size());
  if (size < kFooterBytes) return false;
  RS_CHECK(file.read_exactly(size - kFooterBytes, copy.bytes));
  return copy.has_cookie() && copy.checksum_is_right();
}

Result<Header> read_header(const os::File& file, const Footer& footer, bool ignore_checksum) {
  Header header;
  auto offset = footer.data_offset();
  RS_TRY(auto size, file.size());
  if (offset > size || size - offset < kHeaderBytes)
    return fail(ErrorCode::corrupt, file.path() + ": its footer names a header at offset " +
                                        std::to_string(offset) + ", outside the file of " +
                                        std::to_string(size) + " bytes");
  RS_CHECK(file.read_exactly(offset, header.bytes));
  if (!header.has_cookie())
    return fail(ErrorCode::corrupt, at(file, offset) + "the header's \"cxsparse\" expected");
  if (!ignore_checksum && !header.checksum_is_right())
    return fail(ErrorCode::corrupt, at(file, offset + kHeaderChecksum) + "the header's checksum is wrong");
  auto block = header.block_bytes();
  if (!std::has_single_bit(block) || block < kMinBlockBytes || block > kMaxBlockBytes)
    return fail(ErrorCode::corrupt, at(file, offset + 32) + "a block size of " + std::to_string(block) +
                                        "; a power of two from 512 bytes to 1 GiB expected");
  return header;
}

Result<std::uint64_t> virtual_bytes(const os::File& file, const FoundFooter& found, const Header* header) {
  auto room = found.offset;  // of a fixed disk
  if (header != nullptr) {
    RS_TRY(auto size, file.size());
    auto table = header->table_offset();
    auto entries = table > size ? 0 : std::min<std::uint64_t>(header->entries(), (size - table) / 4);
    room = entries * header->block_bytes();
  }
  auto fits = [&](std::uint64_t bytes) {
    return bytes != 0 && bytes % kSectorBytes == 0 && bytes <= room && bytes <= (std::uint64_t{1} << 50);
  };
  auto bytes = found.footer.current_bytes();
  if (fits(bytes)) return bytes;
  auto by_geometry = found.footer.geometry().total_bytes();
  if (fits(by_geometry)) return by_geometry;
  return fail(ErrorCode::corrupt,
              at(file, (found.at_end ? found.offset : 0) + 48) + "a disk of " + std::to_string(bytes) +
                  " bytes; whole sectors, at most the " + std::to_string(room) + " bytes that its " +
                  (header != nullptr ? "block table" : "file") + " has room for, expected");
}

Result<LayerDescription> describe(const os::File& file, const std::string& path, bool ignore_checksum) {
  LayerDescription description;
  auto& info = description.info;
  info.path = path;
  info.format = Format::vhd;
  RS_TRY(auto found, read_footer(file, ignore_checksum));
  info.id = found.footer.id();
  if (found.footer.type() == static_cast<std::uint32_t>(DiskType::fixed)) {
    RS_TRY(info.virtual_bytes, virtual_bytes(file, found, nullptr));
    return description;
  }
  RS_TRY(auto header, read_header(file, found.footer, ignore_checksum));
  RS_TRY(info.virtual_bytes, virtual_bytes(file, found, &header));
  info.block_bytes = header.block_bytes();
  info.kind = LayerKind::dynamic;
  if (found.footer.type() == static_cast<std::uint32_t>(DiskType::dynamic)) return description;
  info.kind = LayerKind::differencing;
  info.parent_id = header.parent_id();
  description.parent =
      parent_reference(path, header, found.footer.data_offset(), read_locators(file, header));
  return description;
}

}  // namespace roamstead::vdisk::vhd
