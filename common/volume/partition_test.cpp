#include "common/volume/partition.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "common/os/file.h"
#include "common/volume/crc32.h"
#include "tests/support/hostile.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using volume::TableKind;

namespace {

class MemoryDevice final : public vdisk::BlockDevice {
 public:
  explicit MemoryDevice(std::size_t size) : bytes(size) {}
  std::uint64_t size_bytes() const override { return bytes.size(); }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    if (offset > bytes.size() || out.size() > bytes.size() - offset)
      return fail(ErrorCode::internal, "out of range");
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  std::string name() const override { return "memory"; }

  Bytes bytes;
};

void put_mbr_entry(Bytes& disk, std::size_t sector, std::size_t index, std::uint8_t type, std::uint32_t first,
                   std::uint32_t count) {
  auto at = sector * 512 + 446 + index * 16;
  disk[at + 4] = static_cast<std::byte>(type);
  store_le<std::uint32_t>(disk, at + 8, first);
  store_le<std::uint32_t>(disk, at + 12, count);
  disk[sector * 512 + 510] = std::byte{0x55};
  disk[sector * 512 + 511] = std::byte{0xaa};
}

}  // namespace

TEST_CASE("the checksum is the one of the published check value") {
  CHECK(volume::crc32(as_bytes("123456789")) == 0xcbf43926);
}

TEST_CASE("a disk without a table, or with a bare file system, has none") {
  MemoryDevice disk(8 << 20);
  CHECK(volume::read_partition_table(disk).value().kind == TableKind::none);
  std::copy_n(as_bytes("NTFS    ").begin(), 8, disk.bytes.begin() + 3);
  put_mbr_entry(disk.bytes, 0, 0, 0x72, 1701519481, 1869881465);
  CHECK(volume::read_partition_table(disk).value().kind == TableKind::none);
  CHECK(volume::read_partition_table(MemoryDevice(100)).value().kind == TableKind::none);
}

TEST_CASE("primary and logical MBR partitions are found") {
  MemoryDevice disk(64 << 20);
  put_mbr_entry(disk.bytes, 0, 0, 0x07, 2048, 4096);
  put_mbr_entry(disk.bytes, 0, 2, 0x0f, 10000, 50000);
  put_mbr_entry(disk.bytes, 10000, 0, 0x07, 64, 1000);
  put_mbr_entry(disk.bytes, 10000, 1, 0x05, 5000, 3000);
  put_mbr_entry(disk.bytes, 15000, 0, 0x83, 64, 100);
  auto table = volume::read_partition_table(disk);
  REQUIRE(table);
  CHECK(table->kind == TableKind::mbr);
  REQUIRE(table->partitions.size() == 3);
  CHECK(table->partitions[0].offset_bytes == 1 << 20);
  CHECK(table->partitions[0].type == "mbr:07");
  CHECK(table->partitions[1].number == 5);
  CHECK(table->partitions[1].offset_bytes == 10064 * 512);
  CHECK(table->partitions[2].offset_bytes == 15064 * 512);
  CHECK(table->partitions[2].type == "mbr:83");

  put_mbr_entry(disk.bytes, 15000, 1, 0x05, 5000, 3000);  // back to itself
  CHECK(volume::read_partition_table(disk).error().code == ErrorCode::corrupt);
  put_mbr_entry(disk.bytes, 15000, 1, 0, 0, 0);
  put_mbr_entry(disk.bytes, 0, 1, 0x07, 3000, 100);  // within the first
  CHECK(volume::read_partition_table(disk).error().message.find("overlap") != std::string::npos);
  put_mbr_entry(disk.bytes, 0, 1, 0x07, 100'000, 100'000);
  CHECK(volume::read_partition_table(disk).error().message.find("beyond") != std::string::npos);
}

TEST_CASE("a written GPT is read back, from the backup when the primary is damaged") {
  MemoryDevice disk((8 << 20) + 512 * 5);
  auto written = volume::create_single_partition(disk, "Profil \xc3\xa4");
  REQUIRE(written);
  CHECK(written->offset_bytes == 1 << 20);
  CHECK(written->size_bytes == 6 << 20);
  auto check = [&] {
    auto table = volume::read_partition_table(disk);
    REQUIRE(table);
    CHECK(table->kind == TableKind::gpt);
    REQUIRE(table->partitions.size() == 1);
    CHECK(table->partitions[0].offset_bytes == written->offset_bytes);
    CHECK(table->partitions[0].size_bytes == written->size_bytes);
    CHECK(table->partitions[0].name == "Profil \xc3\xa4");
    CHECK(table->partitions[0].type == "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
    CHECK(table->partitions[0].id == written->id);
    CHECK_FALSE(written->id.is_zero());
  };
  check();
  disk.bytes[512 + 40] ^= std::byte{1};
  check();
  disk.bytes[512 + 40] ^= std::byte{1};
  disk.bytes[1024 + 200] ^= std::byte{1};
  check();
  disk.bytes[disk.bytes.size() - 512 + 40] ^= std::byte{1};
  auto broken = volume::read_partition_table(disk);
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == ErrorCode::corrupt);
  CHECK(volume::create_single_partition(disk, std::string(37, 'x')).error().code ==
        ErrorCode::invalid_argument);
}

namespace {

// Makes the checksums of both copies of a GPT right again, of the entries too where their place can be read.
void seal(Bytes& disk) {
  for (const auto header_at : {std::size_t{512}, disk.size() - 512}) {
    auto header = MutableByteView(disk).subspan(header_at, 512);
    const auto entries_at = load_le<std::uint64_t>(header, 72) * 512;
    const auto entries_bytes =
        std::uint64_t{load_le<std::uint32_t>(header, 80)} * load_le<std::uint32_t>(header, 84);
    if (entries_at <= disk.size() && entries_bytes <= disk.size() - entries_at)
      store_le<std::uint32_t>(header, 88,
                              volume::crc32(ByteView(disk).subspan(static_cast<std::size_t>(entries_at),
                                                                   static_cast<std::size_t>(entries_bytes))));
    const auto header_bytes = load_le<std::uint32_t>(header, 12);
    if (header_bytes > 512) continue;
    store_le<std::uint32_t>(header, 16, 0);
    store_le<std::uint32_t>(header, 16, volume::crc32(ByteView(header).first(header_bytes)));
  }
}

}  // namespace

TEST_CASE("whatever is damaged in a partition table, it is read within the disk or refused within a second") {
  auto random = support::seeded_random();
  MemoryDevice whole(4 << 20);
  REQUIRE(volume::create_single_partition(whole, "x"));
  MemoryDevice mbr(4 << 20);
  put_mbr_entry(mbr.bytes, 0, 0, 0x07, 100, 200);
  put_mbr_entry(mbr.bytes, 0, 1, 0x05, 1000, 2000);
  put_mbr_entry(mbr.bytes, 1000, 0, 0x07, 1, 10);
  put_mbr_entry(mbr.bytes, 1000, 1, 0x05, 100, 10);
  put_mbr_entry(mbr.bytes, 1100, 0, 0x07, 1, 10);
  std::size_t refused = 0;
  auto disk = whole;  // its memory is used again and again
  for (int round = 0; round < 3000; ++round) {
    CAPTURE(round);
    const bool gpt = round % 2 == 0;
    disk = gpt ? whole : mbr;
    for (auto changes = 1 + random() % 6; changes > 0; --changes) {
      const auto width = std::size_t{1} << random() % 4;
      const std::size_t gpt_places[] = {440 + random() % 72, 512 + random() % 96, 1024 + random() % 256,
                                        disk.bytes.size() - 512 + random() % 96};
      const std::size_t mbr_places[] = {440 + random() % 72, 1000 * 512 + 440 + random() % 72,
                                        1100 * 512 + 440 + random() % 72, random() % disk.bytes.size()};
      const auto at =
          std::min(gpt ? gpt_places[random() % 4] : mbr_places[random() % 4], disk.bytes.size() - width);
      Bytes number(8);
      std::copy_n(disk.bytes.begin() + static_cast<std::ptrdiff_t>(at), width, number.begin());
      const auto was = load_le<std::uint64_t>(number);
      store_le<std::uint64_t>(number, 0, support::awkward_number(random, was, width, disk.bytes.size()));
      std::copy_n(number.begin(), width, disk.bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (gpt && random() % 4 != 0) seal(disk.bytes);
    support::HostileTrial trial("memory");
    if (const auto table = volume::read_partition_table(disk); trial.note(table)) {
      for (const auto& partition : table->partitions) {
        CHECK(partition.offset_bytes <= disk.size_bytes());
        CHECK(partition.size_bytes <= disk.size_bytes() - partition.offset_bytes);
      }
    } else {
      ++refused;
    }
  }
  CHECK(refused > 500);
}

TEST_CASE("sgdisk finds nothing wrong with a GPT of ours") {
  if (std::system("command -v sgdisk >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: sgdisk is not installed");
    return;
  }
  MemoryDevice disk(64 << 20);
  REQUIRE(volume::create_single_partition(disk, "x"));
  support::TemporaryDirectory directory;
  auto path = directory / "disk.raw";
  REQUIRE(os::write_file_durably(os::real_file_system(), path, disk.bytes));
  CHECK(std::system(("sgdisk -v " + path + " | grep -q 'No problems found'").c_str()) == 0);
}

TEST_CASE("a written MBR is read back, by sfdisk too") {
  MemoryDevice disk((64 << 20) + 512);
  const auto ids = volume::TableIds::random();
  const auto written = volume::create_single_mbr_partition(disk, ids);
  REQUIRE(written);
  const auto table = volume::read_partition_table(disk);
  REQUIRE(table);
  CHECK(table->kind == TableKind::mbr);
  CHECK(table->signature == ids.signature);
  REQUIRE(table->partitions.size() == 1);
  CHECK(table->partitions[0].offset_bytes == 1 << 20);
  CHECK(table->partitions[0].size_bytes == 63 << 20);
  CHECK(table->partitions[0].type == "mbr:07");
  if (std::system("command -v sfdisk >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: sfdisk is not installed");
    return;
  }
  support::TemporaryDirectory directory;
  auto path = directory / "disk.raw";
  REQUIRE(os::write_file_durably(os::real_file_system(), path, disk.bytes));
  CHECK(std::system(("sfdisk -d " + path + " | grep -q 'start= *2048, size= *129024, type=7'").c_str()) == 0);
  CHECK(std::system(("sfdisk -V " + path + " >/dev/null 2>&1").c_str()) == 0);
  MemoryDevice small(2 << 20);
  CHECK(volume::create_single_mbr_partition(small, ids).error().code == ErrorCode::invalid_argument);
}
