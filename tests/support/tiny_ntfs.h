// The smallest NTFS volume with one of everything the reader knows, made byte by byte: no tool is needed, and
// each byte is known. 512-byte sectors and clusters, 32 MFT records of 1 KiB.
//
//   record  5 the root with an index of two levels: "file", "sub"
//           9 $Secure with descriptor 0x100        10 $UpCase
//          16 "sub", a directory                   17 "file": resident, a named stream with a hole, a reparse
//          point 18 "sub/big": attribute list, second extent in record 19
//          20 "packed": compressed by NTFS     21 "wof": compressed by WOF   (both without an index entry)
//          (or, instead of 16 to 21, from another record on)
#pragma once

#include <bit>
#include <optional>

#include "tests/support/ntfs_record.h"

namespace roamstead::support {

class TinyNtfs {
 public:
  static constexpr std::uint64_t kClusters = 400;
  static constexpr std::uint64_t kMftLcn = 8;      // 64 clusters
  static constexpr std::uint64_t kMirrorLcn = 72;  // 8 clusters
  static constexpr std::uint64_t kUpcaseLcn = 80;  // 256 clusters
  static constexpr std::uint64_t kIndexLcn = 336;  // 2 blocks of 1 KiB
  static constexpr std::uint64_t kDataLcn = 340;

  static Bytes make(std::uint64_t first_file = 16) { return TinyNtfs(first_file).image_; }

 private:
  static constexpr std::uint64_t kRoot = 5 | std::uint64_t{5} << 48;

  explicit TinyNtfs(std::uint64_t first_file)
      : sub_(first_file),
        file_(first_file + 1),
        big_(first_file + 2),
        more_(first_file + 3),
        image_(kClusters * 512) {
    boot_sector();
    upcase();
    system_records();
    root_directory();
    files();
    compressed_files();
    const auto first_four = ByteView(image_).subspan(kMftLcn * 512, 4096);
    std::copy(first_four.begin(), first_four.end(), image_.begin() + kMirrorLcn * 512);
  }

  void put(std::uint64_t lcn, ByteView bytes) {
    std::copy(bytes.begin(), bytes.end(), image_.begin() + static_cast<std::ptrdiff_t>(lcn * 512));
  }
  void put_record(std::uint64_t number, std::uint16_t sequence, std::uint16_t flags,
                  const std::vector<Bytes>& attributes, std::uint64_t base = 0) {
    auto record = make_record(number, sequence, flags, base, attributes);
    protect(record);
    put(kMftLcn + number * 2, record);
  }

  void boot_sector() {
    Fields fields;
    fields.bytes_at(3, as_bytes("NTFS    "))
        .at<std::uint16_t>(11, 512)
        .at<std::uint8_t>(13, 1)
        .at(40, kClusters);
    fields.at(48, kMftLcn).at(56, kMirrorLcn).at<std::uint8_t>(64, 2).at<std::uint8_t>(68, 2);
    put(0, fields.at<std::uint16_t>(510, 0xAA55).padded());
  }
  void upcase() {
    Bytes table(65536 * 2);
    for (std::size_t i = 0; i < 65536; ++i)
      store_le(MutableByteView(table), i * 2, static_cast<std::uint16_t>(i >= 'a' && i <= 'z' ? i - 32 : i));
    put(kUpcaseLcn, table);
  }

  static Bytes utf16(std::string_view name) {
    Bytes bytes;
    for (const char letter : name) {
      bytes.push_back(static_cast<std::byte>(letter));
      bytes.push_back(std::byte{0});
    }
    return bytes;
  }
  static Bytes file_name(std::uint64_t parent, std::string_view name) {
    Fields fields;
    fields.at(0, parent)
        .at<std::uint16_t>(0x40, static_cast<std::uint8_t>(name.size()))
        .at<std::uint8_t>(0x41, 3);
    auto bytes = fields.bytes_at(0x42, utf16(name)).padded();
    bytes.resize(0x42 + name.size() * 2);
    return bytes;
  }
  static Bytes standard_information(std::uint32_t security_id = 0) {
    Fields fields;
    return fields.at<std::uint64_t>(0, 1)
        .at<std::uint64_t>(8, 2)
        .at<std::uint32_t>(32, 0x20)
        .at(52, security_id)
        .at<std::uint64_t>(64, 0)
        .padded();
  }
  // Gives an attribute a name: put at its end.
  static Bytes named(Bytes attribute, std::string_view name) {
    const auto at = attribute.size();
    const auto text = utf16(name);
    attribute.insert(attribute.end(), text.begin(), text.end());
    attribute.resize((attribute.size() + 7) / 8 * 8);
    store_le(MutableByteView(attribute), 4, static_cast<std::uint32_t>(attribute.size()));
    store_le(MutableByteView(attribute), 9, static_cast<std::uint8_t>(name.size()));
    store_le(MutableByteView(attribute), 10, static_cast<std::uint16_t>(at));
    return attribute;
  }
  static Bytes index_entry(std::uint64_t reference, ByteView key, std::optional<std::uint64_t> child,
                           bool last = false) {
    Fields fields;
    fields.at(0, reference).at(10, static_cast<std::uint16_t>(key.size()));
    fields.at<std::uint32_t>(12, (child ? 1u : 0u) | (last ? 2u : 0u)).bytes_at(16, key);
    auto bytes = fields.padded();
    if (child) {
      bytes.resize(bytes.size() + 8);
      store_le(MutableByteView(bytes), bytes.size() - 8, *child);
    }
    store_le(MutableByteView(bytes), 8, static_cast<std::uint16_t>(bytes.size()));
    return bytes;
  }
  static Bytes node(const std::vector<Bytes>& entries) {
    Bytes bytes(16);
    for (const auto& entry : entries) bytes.insert(bytes.end(), entry.begin(), entry.end());
    store_le<std::uint32_t>(bytes, 0, 16);
    store_le(MutableByteView(bytes), 4, static_cast<std::uint32_t>(bytes.size()));
    store_le(MutableByteView(bytes), 8, static_cast<std::uint32_t>(bytes.size()));
    return bytes;
  }
  static Bytes index_root(const std::vector<Bytes>& entries) {
    Fields fields;
    return fields.at<std::uint32_t>(0, 0x30)
        .at<std::uint32_t>(4, 1)
        .at<std::uint32_t>(8, 1024)
        .at<std::uint32_t>(12, 2)
        .bytes_at(16, node(entries))
        .padded();
  }
  Bytes data(std::uint64_t lcn, std::uint64_t clusters, std::uint64_t size_bytes, std::uint16_t id = 4) {
    return nonresident_attribute(ntfs::kData, id, 0, clusters - 1, size_bytes,
                                 mapping_pairs({{0, lcn, clusters, false}}));
  }

  void system_records() {
    using namespace ntfs;
    put_record(0, 1, 1,
               {resident_attribute(kStandardInformation, 0, standard_information()),
                resident_attribute(kFileName, 1, file_name(kRoot, "$MFT")), data(kMftLcn, 64, 32 * 1024)});
    put_record(1, 1, 1,
               {resident_attribute(kFileName, 1, file_name(kRoot, "$MFTMirr")), data(kMirrorLcn, 8, 4096)});
    Fields information;
    information.at<std::uint16_t>(8, 0x0103).at<std::uint16_t>(10, 0);
    auto information_value = information.padded();
    information_value.resize(12);
    put_record(3, 3, 1,
               {resident_attribute(kFileName, 1, file_name(kRoot, "$Volume")),
                resident_attribute(kVolumeName, 2, utf16("tiny")),
                resident_attribute(kVolumeInformation, 3, information_value)});
    put_record(
        10, 10, 1,
        {resident_attribute(kFileName, 1, file_name(kRoot, "$UpCase")), data(kUpcaseLcn, 256, 131072)});
    // A descriptor of four words: its hash is that of $Secure, h = word + rotl(h, 3).
    Bytes descriptor = Fields().at<std::uint64_t>(0, 0x8004'0001).at<std::uint64_t>(8, 0).padded();
    std::uint32_t hash = 0;
    for (std::size_t i = 0; i < descriptor.size(); i += 4)
      hash = load_le<std::uint32_t>(descriptor, i) + std::rotl(hash, 3);
    Fields sds;
    sds.at(0, hash).at<std::uint32_t>(4, 0x100).at<std::uint64_t>(8, 0).at<std::uint32_t>(16, 36).bytes_at(
        20, descriptor);
    auto sds_value = sds.padded();
    sds_value.resize(36);
    Fields sii;  // data at 20, 20 bytes; key at 16
    sii.at<std::uint16_t>(0, 20).at<std::uint16_t>(2, 20).at<std::uint16_t>(8, 40).at<std::uint16_t>(10, 4);
    sii.at<std::uint32_t>(16, 0x100).bytes_at(20, ByteView(sds_value).first(20));
    put_record(
        9, 9, 1,
        {resident_attribute(kFileName, 1, file_name(kRoot, "$Secure")),
         named(resident_attribute(kData, 2, sds_value), "$SDS"),
         named(resident_attribute(kIndexRoot, 3, index_root({sii.padded(), index_entry(0, {}, {}, true)})),
               "$SII")});
  }

  void root_directory() {
    using namespace ntfs;
    const auto block = [&](std::uint64_t vcn, const std::vector<Bytes>& entries) {
      const auto content = node(entries);
      Fields fields;
      fields.bytes_at(0, as_bytes("INDX")).at<std::uint16_t>(4, 40).at<std::uint16_t>(6, 3).at(16, vcn);
      fields.bytes_at(24, ByteView(content).first(16)).at<std::uint16_t>(40, 3);
      fields.at<std::uint32_t>(24, 24).bytes_at(48, ByteView(content).subspan(16));
      fields.at(28, static_cast<std::uint32_t>(content.size() + 8));
      auto bytes = fields.padded();
      bytes.resize(1024);
      protect(bytes);
      put(kIndexLcn + vcn, bytes);
    };
    const auto end = index_entry(0, {}, {}, true);
    block(0, {index_entry(reference(file_), file_name(kRoot, "file"), {}), end});
    block(2, {end});
    put_record(5, 5, 3,
               {resident_attribute(kStandardInformation, 0, standard_information(0x100)),
                resident_attribute(kFileName, 1, file_name(kRoot, ".")),
                named(resident_attribute(kIndexRoot, 2,
                                         index_root({index_entry(reference(sub_), file_name(kRoot, "sub"), 0),
                                                     index_entry(0, {}, 2, true)})),
                      "$I30"),
                named(nonresident_attribute(kIndexAllocation, 3, 0, 3, 2048,
                                            mapping_pairs({{0, kIndexLcn, 4, false}})),
                      "$I30")});
  }

  void files() {
    using namespace ntfs;
    put_record(sub_, 1, 3,
               {resident_attribute(kStandardInformation, 0, standard_information(0x100)),
                resident_attribute(kFileName, 1, file_name(kRoot, "sub")),
                named(resident_attribute(
                          kIndexRoot, 2,
                          index_root({index_entry(reference(big_), file_name(reference(sub_), "big"), {}),
                                      index_entry(0, {}, {}, true)})),
                      "$I30")});
    put_record(
        file_, 1, 1,
        {resident_attribute(kStandardInformation, 0, standard_information(0x100)),
         resident_attribute(kFileName, 1, file_name(kRoot, "file")),
         resident_attribute(kData, 2, as_bytes("hello")),
         named(nonresident_attribute(
                   kData, 3, 0, 9, 5000,
                   mapping_pairs({{0, kDataLcn, 4, false}, {4, 0, 4, true}, {8, kDataLcn + 8, 2, false}})),
               "stream"),
         resident_attribute(kReparsePoint, 4,
                            Fields().at<std::uint32_t>(0, 0xA000'000C).at<std::uint64_t>(4, 4).padded())});
    Bytes list;
    for (const auto& entry :
         {list_entry(kStandardInformation, 0, big_, 1, 0), list_entry(kFileName, 0, big_, 1, 1),
          list_entry(kData, 0, big_, 1, 2), list_entry(kData, 10, more_, 1, 3)})
      list.insert(list.end(), entry.begin(), entry.end());
    put_record(
        big_, 1, 1,
        {resident_attribute(kStandardInformation, 0, standard_information()),
         resident_attribute(kAttributeList, 5, list),
         resident_attribute(kFileName, 1, file_name(reference(sub_), "big")),
         nonresident_attribute(kData, 2, 0, 9, 20 * 512, mapping_pairs({{0, kDataLcn + 20, 10, false}}))});
    put_record(more_, 1, 1,
               {nonresident_attribute(kData, 3, 10, 19, 0, mapping_pairs({{10, kDataLcn + 40, 10, false}}))},
               reference(big_));
  }

  void compressed_files() {
    using namespace ntfs;
    // 8 KiB of which the first unit of 16 clusters is LZNT1 in one cluster: "ab" again and again.
    Bytes chunk = Fields().at<std::uint16_t>(0, 0xB004).at<std::uint8_t>(2, 4).padded();
    chunk[3] = std::byte{'a'};
    chunk[4] = std::byte{'b'};
    store_le<std::uint16_t>(chunk, 5, 0x1FFB);
    chunk.resize(512);
    put(kDataLcn + 52, chunk);
    auto packed = nonresident_attribute(kData, 2, 0, 15, 8000,
                                        mapping_pairs({{0, kDataLcn + 52, 1, false}, {1, 0, 15, true}}));
    store_le<std::uint16_t>(packed, 12, 1);
    store_le<std::uint16_t>(packed, 34, 4);
    put_record(more_ + 1, 1, 1,
               {resident_attribute(kStandardInformation, 0, standard_information(0x100)),
                resident_attribute(kFileName, 1, file_name(kRoot, "packed")), packed});
    // Two chunks of XPRESS4K: both cut short, which is an error of the content only.
    Fields reparse;
    reparse.at<std::uint32_t>(0, 0x8000'0017).at<std::uint32_t>(4, 16);
    reparse.at<std::uint32_t>(8, 1).at<std::uint32_t>(12, 2).at<std::uint32_t>(16, 1).at<std::uint32_t>(20,
                                                                                                        0);
    put_record(more_ + 2, 1, 1,
               {resident_attribute(kStandardInformation, 0, standard_information(0x100)),
                resident_attribute(kFileName, 1, file_name(kRoot, "wof")),
                nonresident_attribute(kData, 2, 0, 9, 5000, mapping_pairs({{0, 0, 10, true}})),
                named(resident_attribute(kData, 3, Bytes(290, std::byte{0x44})), "WofCompressedData"),
                resident_attribute(kReparsePoint, 4, reparse.padded())});
  }

  static std::uint64_t reference(std::uint64_t record) { return record | std::uint64_t{1} << 48; }

  const std::uint64_t sub_, file_, big_, more_;
  Bytes image_;
};

}  // namespace roamstead::support
