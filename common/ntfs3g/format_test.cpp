#include "common/ntfs3g/format.h"

#include <doctest/doctest.h>

#include "common/ntfs/volume.h"
#include "common/os/file.h"
#include "tests/support/command.h"
#include "tests/support/memory_device.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs3g {
namespace {

TEST_CASE("a formatted partition is an NTFS volume of the whole device that knows where it begins") {
  support::MemoryDevice disk{Bytes(40u << 20)};
  vdisk::SubDevice partition(disk, 1u << 20, 32u << 20, "partition 1");
  REQUIRE(format_ntfs(partition, "Profile", 1u << 20).has_value());
  auto volume = ntfs::Volume::open(partition);
  REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
  CHECK((*volume)->info().label == "Profile");
  CHECK((*volume)->info().cluster_bytes == 4096);
  CHECK_FALSE((*volume)->info().dirty);
  CHECK(load_le<std::uint32_t>(disk.content(), (1u << 20) + 0x1C) == 2048);  // hidden sectors
  CHECK(all_zero(ByteView(disk.content()).first(1u << 20)));
  CHECK(all_zero(ByteView(disk.content()).last(7u << 20)));
}

TEST_CASE("a volume gets no more $LogFile than is wanted, and what it would have had is free") {
  constexpr std::uint64_t kWanted = 256u << 10;
  support::MemoryDevice usual{Bytes(256u << 20)}, device{Bytes(256u << 20)};
  REQUIRE(format_ntfs(usual, "Data").has_value());
  const auto formatted = format_ntfs(device, "Data", 0, kWanted);
  REQUIRE_MESSAGE(formatted.has_value(), (formatted ? "" : formatted.error().to_string()));
  const auto log_of = [](support::MemoryDevice& of) {
    const auto volume = std::move(ntfs::Volume::open(of)).value();
    const auto record = volume->record(2).value();
    REQUIRE(record.streams.size() == 1);
    return record.streams[0].size_bytes;
  };
  CHECK(log_of(usual) > kWanted);
  CHECK(log_of(device) == kWanted);
  const auto written = [](support::MemoryDevice& of) {
    std::uint64_t bytes = 0;
    for (std::size_t at = 0; at < of.content().size(); at += 4096)
      bytes += all_zero(ByteView(of.content()).subspan(at, 4096)) ? 0 : 4096;
    return bytes;
  };
  CHECK(written(usual) - written(device) == log_of(usual) - kWanted);
  support::TemporaryDirectory folder;
  REQUIRE(os::write_file_durably(os::real_file_system(), folder / "volume", device.content()).has_value());
  if (support::available("ntfsfix")) CHECK(support::run_quietly("ntfsfix -n " + (folder / "volume")));
  if (support::available("ntfs-3g.probe"))
    CHECK(support::run_quietly("ntfs-3g.probe --readwrite " + (folder / "volume")));
}

TEST_CASE("a device too small for NTFS is refused") {
  support::MemoryDevice device{Bytes(64u << 10)};
  CHECK(format_ntfs(device, "x").error().code == ErrorCode::io);
}

}  // namespace
}  // namespace roamstead::ntfs3g
