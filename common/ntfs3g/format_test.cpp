#include "common/ntfs3g/format.h"

#include <doctest/doctest.h>

#include "common/ntfs/volume.h"
#include "tests/support/memory_device.h"

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

TEST_CASE("a device too small for NTFS is refused") {
  support::MemoryDevice device{Bytes(64u << 10)};
  CHECK(format_ntfs(device, "x").error().code == ErrorCode::io);
}

}  // namespace
}  // namespace roamstead::ntfs3g
