// The volume's structures one by one, well-formed and not.
#include <doctest/doctest.h>

#include "common/ntfs/attribute_list.h"
#include "common/ntfs/boot_sector.h"
#include "common/ntfs/path_cache.h"
#include "common/ntfs/record.h"
#include "common/ntfs/runs.h"
#include "common/ntfs/stream.h"
#include "common/ntfs/upcase.h"
#include "tests/support/ntfs_questions.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/tiny_ntfs.h"

namespace roamstead::ntfs {
namespace {

using support::Fields;

Bytes boot_sector(std::uint16_t sector_bytes, std::uint8_t cluster, std::uint8_t record,
                  std::uint64_t sectors) {
  Fields fields;
  fields.bytes_at(3, as_bytes("NTFS    ")).at(11, sector_bytes).at(13, cluster).at(40, sectors);
  fields.at<std::uint64_t>(48, 4)
      .at<std::uint64_t>(56, 2)
      .at(64, record)
      .at<std::uint8_t>(68, 0xF4)
      .at<std::uint16_t>(510, 0xAA55);
  return fields.padded();
}

std::string error_of(const auto& result) { return result ? "" : result.error().to_string(); }

Result<std::vector<Run>> decode(ByteView pairs, std::uint64_t first, std::uint64_t clusters,
                                std::uint64_t volume = 1000) {
  std::vector<Run> runs;
  RS_CHECK(append_runs(pairs, first, clusters, volume, runs));
  return runs;
}

Bytes bytes_of(std::initializer_list<unsigned> values) {
  Bytes bytes;
  for (const auto value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

}  // namespace

TEST_CASE("sizes in the boot sector are counts or negative powers of two") {
  const auto geometry = [](std::uint16_t sector, std::uint8_t cluster, std::uint8_t record) {
    return parse_boot_sector(boot_sector(sector, cluster, record, 1 << 20), std::uint64_t{1} << 32);
  };
  CHECK(geometry(512, 1, 0xF6)->cluster_bytes == 512);
  CHECK(geometry(512, 8, 0xF6)->cluster_bytes == 4096);
  CHECK(geometry(512, 0x80, 0xF6)->cluster_bytes == 65536);
  CHECK(geometry(512, 0xF8, 0xF6)->cluster_bytes == 128 << 10);
  CHECK(geometry(512, 0xF4, 0xF6)->cluster_bytes == 2 << 20);
  CHECK(geometry(4096, 1, 0xF4)->record_bytes == 4096);
  CHECK(geometry(512, 2, 1)->record_bytes == 1024);
  CHECK(geometry(512, 8, 0xF6)->volume_bytes == 512 << 20);
  CHECK(geometry(512, 8, 0xF6)->index_bytes == 4096);
  for (const auto& [sector, cluster, record] : {std::tuple<int, int, int>{0, 8, 0xF6},
                                                {513, 8, 0xF6},
                                                {8192, 8, 0xF6},
                                                {512, 0, 0xF6},
                                                {512, 3, 0xF6},
                                                {512, 0xF3, 0xF6},
                                                {512, 0x90, 0xF6},
                                                {512, 8, 0},
                                                {512, 8, 3},
                                                {512, 8, 0xF8},
                                                {512, 8, 0xE1},
                                                {512, 8, 0x80}})
    CHECK(error_of(geometry(static_cast<std::uint16_t>(sector), static_cast<std::uint8_t>(cluster),
                            static_cast<std::uint8_t>(record)))
              .find("byte ") == 0);
}

TEST_CASE("a boot sector that is none is refused by name") {
  auto sector = boot_sector(512, 8, 0xF6, 1000);
  CHECK(parse_boot_sector(sector, 1000 * 512).has_value());
  CHECK(error_of(parse_boot_sector(sector, 999 * 512)).find("truncated") != std::string::npos);
  for (std::size_t length = 0; length < 512; ++length)
    CHECK_FALSE(parse_boot_sector(ByteView(sector).first(length), 1000 * 512).has_value());
  store_le<std::uint64_t>(sector, 48, 125);
  CHECK(error_of(parse_boot_sector(sector, 1000 * 512)).find("byte 48") == 0);
  const auto other = as_bytes("-FVE-FS-");
  std::copy(other.begin(), other.end(), sector.begin() + 3);
  CHECK(parse_boot_sector(sector, 1000 * 512).error().code == ErrorCode::unsupported);
  sector[3] = std::byte{0};
  CHECK(parse_boot_sector(sector, 1000 * 512).error().code == ErrorCode::corrupt);
}

TEST_CASE("mapping pairs hold runs, holes and steps back, and neighbours are joined") {
  const auto runs =
      decode(bytes_of({0x11, 10, 100, 0x01, 5, 0x11, 10, 0xEC, 0x11, 2, 10, 0x21, 1, 0x2C, 1, 0}), 7, 28)
          .value();
  REQUIRE(runs.size() == 4);
  CHECK((runs[0].vcn == 7 && runs[0].lcn == 100 && runs[0].clusters == 10 && !runs[0].sparse));
  CHECK((runs[1].vcn == 17 && runs[1].clusters == 5 && runs[1].sparse));
  CHECK((runs[2].vcn == 22 && runs[2].lcn == 80 && runs[2].clusters == 12));
  CHECK((runs[3].vcn == 34 && runs[3].lcn == 390 && runs[3].clusters == 1));
  CHECK(decode({}, 0, 0)->empty());
}

TEST_CASE("mapping pairs that lie are refused") {
  for (const auto& pairs :
       {bytes_of({0x11, 10, 100, 0}), bytes_of({0x11, 12, 100, 0}), bytes_of({0x11, 0, 100, 0}),
        bytes_of({0x11, 0xFF, 100, 0}), bytes_of({0x10, 100, 0}),
        bytes_of({0x19, 11, 0, 0, 0, 0, 0, 0, 0, 0, 9}), bytes_of({0x91, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
        bytes_of({0x21, 11, 100}), bytes_of({0x11}), bytes_of({0x11, 11, 0x80, 0}),
        bytes_of({0x21, 11, 0xDE, 3, 0}), bytes_of({0x21, 11, 0xFF, 0x7F}),
        bytes_of({0x88, 11, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0}),
        bytes_of(
            {0x81, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x81, 10, 1, 0, 0, 0, 0, 0, 0, 0})})
    CHECK(decode(pairs, 0, 11).error().code == ErrorCode::corrupt);
  CHECK(decode(bytes_of({0x21, 11, 0xDD, 3, 0}), 0, 11).has_value());  // the very last clusters
}

TEST_CASE("fixups are checked in every sector and put back") {
  auto record = support::make_record(30, 1, 1, 0, {}, 4096);
  for (std::size_t i = 1; i <= 8; ++i)
    store_le(MutableByteView(record), i * 512 - 2, static_cast<std::uint16_t>(i * 257));
  const auto expected = record;
  support::protect(record);
  CHECK(record != expected);
  for (std::size_t sector = 0; sector < 8; ++sector) {
    auto torn = record;
    torn[sector * 512 + 511] ^= std::byte{1};
    CHECK(error_of(apply_fixups(torn)).find("torn: sector " + std::to_string(sector)) == 0);
  }
  REQUIRE(apply_fixups(record).has_value());
  CHECK(std::equal(record.begin() + 66, record.end(), expected.begin() + 66));
  for (const auto& [at, value] :
       {std::pair{4, 0xFFFF}, {4, 0}, {4, 49}, {4, 500}, {6, 0}, {6, 8}, {6, 10}, {6, 0xFFFF}}) {
    auto wrong = expected;
    support::protect(wrong);
    store_le(MutableByteView(wrong), static_cast<std::size_t>(at), static_cast<std::uint16_t>(value));
    CHECK(apply_fixups(wrong).error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("attributes that leave their record are refused") {
  const auto value = Bytes(100, std::byte{1});
  const auto good = support::make_record(30, 1, 1, 0, {support::resident_attribute(kData, 1, value)});
  std::vector<AttributeView> attributes;
  const auto parse = [&](const Bytes& record) -> Result<void> {
    RS_TRY(const auto header, parse_record_header(record, 30));
    return parse_attributes(record, header, attributes);
  };
  REQUIRE(parse(good).has_value());
  REQUIRE(attributes.size() == 1);
  CHECK(to_bytes(attributes[0].value) == value);
  const std::size_t at = load_le<std::uint16_t>(good, 20);
  for (const auto& [offset, changed] : {std::pair<std::size_t, std::uint32_t>{24, 1025},
                                        {24, 0},
                                        {24, static_cast<std::uint32_t>(at)},
                                        {20, 0x10004},
                                        {20, 0x1FFFF},
                                        {20, 0x10008},
                                        {44, 31},
                                        {0, 0},
                                        {at + 4, 0},
                                        {at + 4, 16},
                                        {at + 4, 0xFFFF'FFF8},
                                        {at + 4, 900},
                                        {at + 8, 2},
                                        {at + 8, 1},
                                        {at + 8, 0x20'FF00},
                                        {at + 8, 0xFFFF'0100},
                                        {at + 16, 200},
                                        {at + 16, 0xFFFF'FFFF},
                                        {at + 20, 0xFFFF}}) {
    CAPTURE(offset);
    auto bad = good;
    store_le(MutableByteView(bad), offset, changed);
    CHECK(parse(bad).error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("a record never used is free and one marked as torn is an error") {
  CHECK_FALSE(parse_record_header(Bytes(1024), 5)->in_use);
  auto record = support::make_record(30, 1, 1, 0, {});
  const auto marked = as_bytes("BAAD");
  std::copy(marked.begin(), marked.end(), record.begin());
  CHECK(error_of(parse_record_header(record, 30)).find("torn") != std::string::npos);
}

namespace {

// A base record 30 whose $DATA has three extents, two of them in extension records, on a device of 64
// clusters.
struct ListFixture {
  Geometry geometry;
  support::MemoryDevice device{Bytes(64 * 4096)};
  std::map<std::uint64_t, Bytes> records;
  std::vector<Bytes> entries;

  ListFixture() {
    geometry.cluster_bytes = 4096;
    geometry.cluster_count = 64;
    geometry.record_bytes = 1024;
    // Out of order on purpose.
    entries = {support::list_entry(kData, 0, 30, 1, 2), support::list_entry(kData, 5, 32, 4, 0),
               support::list_entry(kData, 2, 31, 3, 0)};
    const auto base = std::uint64_t{30} | std::uint64_t{1} << 48;
    records[31] = support::make_record(31, 3, 1, base, {extent(2, 4, 20)});
    records[32] = support::make_record(32, 4, 1, base, {extent(5, 5, 10)});
  }
  static Bytes extent(std::uint64_t lowest, std::uint64_t highest, std::uint64_t lcn, std::uint16_t id = 0) {
    return support::nonresident_attribute(
        kData, id, lowest, highest, lowest == 0 ? 6 * 4096 : 0,
        support::mapping_pairs({{lowest, lcn, highest - lowest + 1, false}}));
  }

  Result<StreamInfo> read() {
    Bytes list;
    for (const auto& entry : entries) list.insert(list.end(), entry.begin(), entry.end());
    records[30] = support::make_record(
        30, 1, 1, 0, {support::resident_attribute(kAttributeList, 1, list), extent(0, 1, 40, 2)});
    const auto load = [&](std::uint64_t number) -> Result<LoadedRecord> {
      LoadedRecord record;
      record.bytes = records[number];
      if (record.bytes.empty()) return fail(ErrorCode::not_found, "no such record");
      RS_TRY(record.header, parse_record_header(record.bytes, number));
      RS_CHECK(parse_attributes(record.bytes, record.header, record.attributes));
      return record;
    };
    AttributeWalker walker(device, geometry, load);
    RS_TRY(const auto base, load(30));
    StreamInfo stream;
    bool begun = false;
    RS_CHECK(walker.walk({30, 1}, base.attributes, 0, [&](const AttributeView& attribute) -> Result<void> {
      if (begun) return append_extent(attribute, geometry, stream);
      RS_TRY(stream, begin_stream(attribute, geometry));
      begun = true;
      return {};
    }));
    RS_CHECK(check_complete(stream, geometry));
    return stream;
  }
};

}  // namespace

TEST_CASE("extents of an attribute list are joined in the order of their clusters") {
  ListFixture fixture;
  const auto stream = fixture.read();
  REQUIRE_MESSAGE(stream.has_value(), error_of(stream));
  REQUIRE(stream->runs.size() == 3);
  CHECK((stream->runs[1].vcn == 2 && stream->runs[1].lcn == 20));
  CHECK((stream->runs[2].vcn == 5 && stream->runs[2].lcn == 10));
}

TEST_CASE("an attribute list with gaps, repetitions or strangers is refused") {
  const auto refused = [](const std::function<void(ListFixture&)>& damage) {
    ListFixture fixture;
    damage(fixture);
    const auto stream = fixture.read();
    return !stream && stream.error().code != ErrorCode::internal;
  };
  CHECK(refused([](ListFixture& f) { f.entries.pop_back(); }));                    // a gap
  CHECK(refused([](ListFixture& f) { f.entries.erase(f.entries.begin() + 1); }));  // the end is missing
  CHECK(refused([](ListFixture& f) { f.entries.push_back(f.entries[1]); }));       // twice
  CHECK(refused([](ListFixture& f) { f.entries.push_back(support::list_entry(kData, 0, 30, 1, 2)); }));
  CHECK(refused(
      [](ListFixture& f) { f.entries[1] = support::list_entry(kData, 5, 32, 5, 0); }));  // stale reference
  CHECK(refused(
      [](ListFixture& f) { f.entries[1] = support::list_entry(kData, 5, 32, 4, 9); }));  // no such attribute
  CHECK(refused([](ListFixture& f) { f.records.erase(32); }));
  CHECK(refused(
      [](ListFixture& f) { store_le<std::uint64_t>(f.records[32], 32, 29 | std::uint64_t{1} << 48); }));
  CHECK(refused(
      [](ListFixture& f) { store_le<std::uint64_t>(f.records[32], 32, 30 | std::uint64_t{2} << 48); }));
  CHECK(refused([](ListFixture& f) { store_le<std::uint64_t>(f.records[32], 32, 0); }));
  CHECK(refused([](ListFixture& f) { store_le<std::uint16_t>(f.records[32], 22, 0); }));  // free
  for (std::uint16_t length = 0; length < 26; ++length)
    CHECK(refused([&](ListFixture& f) { store_le(MutableByteView(f.entries[1]), 4, length); }));
  CHECK(refused([](ListFixture& f) { store_le<std::uint16_t>(f.entries.back(), 4, 33); }));
}

TEST_CASE("a read beyond a stream's size or its runs is refused") {
  Geometry geometry;
  geometry.cluster_bytes = 4096;
  geometry.cluster_count = 4;
  support::MemoryDevice device(Bytes(4 * 4096, std::byte{7}));
  StreamInfo stream;
  stream.size_bytes = stream.valid_bytes = 10'000;
  stream.runs = {{0, 1, 2, false}};
  Bytes bytes(100);
  CHECK(read_stream(device, geometry, stream, 8092, bytes).has_value());
  CHECK(read_stream(device, geometry, stream, 8093, bytes).error().code == ErrorCode::corrupt);
  CHECK(read_stream(device, geometry, stream, 9901, bytes).error().code == ErrorCode::invalid_argument);
  CHECK(read_stream(device, geometry, stream, ~std::uint64_t{0}, bytes).error().code ==
        ErrorCode::invalid_argument);
  stream.encrypted = true;
  CHECK(read_stream(device, geometry, stream, 0, bytes).error().code == ErrorCode::unsupported);
}

TEST_CASE("an upper-case table that is not one is refused") {
  Bytes table(UpcaseTable::kUnits * 2);
  for (std::size_t i = 0; i < UpcaseTable::kUnits; ++i)
    store_le(MutableByteView(table), i * 2, static_cast<std::uint16_t>(i >= 'a' && i <= 'z' ? i - 32 : i));
  const auto upcase = UpcaseTable::parse(table).value();
  const auto name = bytes_of({'B', 0, 'c', 0});
  CHECK(upcase.compare(u"bC", name) == 0);
  CHECK(upcase.compare(u"b", name) < 0);
  CHECK(upcase.compare(u"Bd", name) > 0);
  CHECK_FALSE(UpcaseTable::parse(ByteView(table).first(table.size() - 2)).has_value());
  table['a' * 2] = std::byte{'B'};
  CHECK_FALSE(UpcaseTable::parse(table).has_value());
}

TEST_CASE("parents that form a cycle end in an error") {
  PathCache cache({5, 5});
  const auto name_of = [](FileReference directory) -> Result<NameInfo> {
    return NameInfo{{directory.record == 40 ? 42 : directory.record - 1, 1},
                    "d" + std::to_string(directory.record)};
  };
  CHECK(error_of(cache.directory_path({42, 1}, name_of)).find("cycle") != std::string::npos);
  const auto to_root = [](FileReference directory) -> Result<NameInfo> {
    if (directory.record == 100'000) return fail(ErrorCode::corrupt, "gone");
    if (directory.record == 10) return NameInfo{{5, 5}, "top"};
    return NameInfo{{directory.record - 1, 1}, "d"};
  };
  CHECK(cache.directory_path({12, 1}, to_root).value() == "top/d/d");
  CHECK(cache
            .directory_path(
                {12, 1}, [](FileReference) { return Result<NameInfo>(fail(ErrorCode::internal, "asked")); })
            .value() == "top/d/d");
  CHECK(error_of(cache.directory_path({99'999, 1}, to_root)).find("too deep") != std::string::npos);
  CHECK(cache.directory_path({100'000, 1}, to_root).error().message == "gone");
}

TEST_CASE("a volume made byte by byte is read as it was made") {
  support::MemoryDevice device(support::TinyNtfs::make());
  for (const auto& error : support::ask_everything(device, {"FILE", "Sub/Big", "sub"})) FAIL(error);
  const auto volume = Volume::open(device).value();
  CHECK(volume->info().label == "tiny");
  CHECK(volume->info().record_count == 32);
  const auto file = volume->record(volume->lookup("file")->record).value();
  CHECK((file.created_100ns == 1 && file.written_100ns == 2 && file.attributes == 0x20));
  CHECK(as_text(file.streams[0].resident_data) == "hello");
  CHECK(file.streams[1].name == "stream");
  CHECK(volume->device_extents(file.streams[1]) ==
        std::vector<StreamExtent>{{0, {340 * 512, 2048}}, {4096, {348 * 512, 904}}});
  CHECK(file.reparse_tag == 0xA000000C);
  const auto big = volume->record(volume->lookup("SUB/BIG")->record).value();
  CHECK(big.extension_records == std::vector<std::uint64_t>{19});
  CHECK(big.streams[0].runs.size() == 2);
  CHECK(volume->path_of(big).value() == "sub/big");
  CHECK(volume->list(5)->size() == 2);
  CHECK(volume->security_descriptor(0x100)->size() == 16);
  CHECK(volume->lookup("none").error().code == ErrorCode::not_found);
  // Records 8 and 9 begin and end in the middle of these two clusters.
  CHECK(volume->records_in({(8 + 17) * 512, 1024}) == std::vector<RecordSpan>{{8, 2}});
}

}  // namespace roamstead::ntfs
