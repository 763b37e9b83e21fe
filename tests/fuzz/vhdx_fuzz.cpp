// A valid chain of two VHDX files, changed as the input says, then opened, read, written, frozen and merged.
// Input: groups of {area, u16 offset in it, value}; the checksums are made right again when the first byte is
// odd.
#include <array>
#include <cstdlib>

#include "common/base/crc32c.h"
#include "common/vdisk/disk.h"
#include "common/vdisk/vhdx_header.h"
#include "tests/support/crash_file_system.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kSize = 2 << 20;
constexpr std::array<std::uint64_t, 9> kAreas = {
    0,       64 << 10,         128 << 10, 192 << 10, 256 << 10, 2 << 20, (2 << 20) + (64 << 10),
    3 << 20, (3 << 20) + 32700};

support::CrashFileSystem& pristine() {
  static auto* files = [] {
    auto* made = new support::CrashFileSystem();
    if (!vdisk::create_disk(*made, "d/base.vhdx", kSize, {1u << 20}) ||
        !vdisk::create_child(*made, "d/base.vhdx", "d/a.vhdx"))
      std::abort();
    auto disk = Disk::open(*made, "d/a.vhdx", Access::write).value();
    if (!disk->write(5000, Bytes(70'000)) || !disk->freeze() || !disk->write(600, Bytes(2000)) ||
        !disk->flush())
      std::abort();
    return made;
  }();
  return *files;
}

void fix_checksum(os::File& file, std::uint64_t offset, std::size_t size) {
  Bytes block(size);
  if (!file.read_exactly(offset, block)) std::abort();
  store_le<std::uint32_t>(block, 4, 0);
  store_le<std::uint32_t>(block, 4, crc32c(block));
  if (!file.write_at(offset, block)) std::abort();
}

void exercise(support::CrashFileSystem& files) {
  if (auto disk = Disk::open(files, "d/a.vhdx", Access::read)) {
    Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), 3 << 20));
    static_cast<void>((*disk)->read(0, some));
    static_cast<void>((*disk)->extents(0));
  }
  if (auto disk = Disk::open(files, "d/a.vhdx", Access::write)) {
    static_cast<void>((*disk)->write(1'000'000, Bytes(200'000)));
    static_cast<void>((*disk)->freeze());
    static_cast<void>((*disk)->merge(1));
    static_cast<void>((*disk)->flush());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 5 || size > 400) return 0;
  auto files = pristine().clone();
  {
    auto file =
        files->open((data[0] & 2) != 0 ? "d/a.0001.vhdx" : "d/a.vhdx", os::OpenMode::read_write).value();
    for (std::size_t at = 1; at + 4 <= size; at += 4) {
      auto offset = kAreas[data[at] % kAreas.size()] + data[at + 1] + (std::uint64_t{data[at + 2]} % 4 << 8);
      auto value = static_cast<std::byte>(data[at + 3]);
      if (!file->write_at(offset, {&value, 1})) std::abort();
    }
    if ((data[0] & 1) != 0) {
      for (auto offset : vdisk::vhdx::kHeaderOffsets) fix_checksum(*file, offset, vdisk::vhdx::kHeaderBytes);
      for (auto offset : vdisk::vhdx::kRegionTableOffsets)
        fix_checksum(*file, offset, vdisk::vhdx::kRegionTableBytes);
    }
  }
  exercise(*files);
  return 0;
}
