// A valid chain of three VHD files, changed as the input says, then checked, opened, read, written, frozen
// and merged. Input: one byte of choices, then groups of {area, u16 offset in it, value}.
#include <array>
#include <cstdlib>

#include "common/vdisk/check.h"
#include "common/vdisk/disk.h"
#include "common/vdisk/vhd_format.h"
#include "tests/support/crash_file_system.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kSize = 2 << 20;
// Footer's copy, header, locators, block table of a child, the place of its first block's bitmap.
constexpr std::array<std::uint64_t, 6> kAreas = {0, 512, 1088, 1536, 1536 + 8192, 1536 + 8192 + 512 + 3072};

support::CrashFileSystem& pristine() {
  static auto* files = [] {
    auto* made = new support::CrashFileSystem();
    if (!vdisk::create_disk(*made, "d/base.vhd", kSize,
                            {.block_bytes = 512u << 10, .format = vdisk::Format::vhd}) ||
        !vdisk::create_child(*made, "d/base.vhd", "d/a.vhd"))
      std::abort();
    auto disk = Disk::open(*made, "d/a.vhd", Access::write).value();
    if (!disk->write(5000, Bytes(70'000)) || !disk->freeze() || !disk->write(600, Bytes(2000)) ||
        !disk->flush())
      std::abort();
    return made;
  }();
  return *files;
}

// The checksum of what the choices and the damage left of a footer or header.
template <class Structure>
void fix_checksum(os::File& file, std::uint64_t offset) {
  Structure structure;
  if (!file.read_exactly(offset, structure.bytes)) return;
  structure.seal();
  if (!file.write_at(offset, structure.bytes)) std::abort();
}

void exercise(support::CrashFileSystem& files) {
  vdisk::OpenOptions options;
  options.missing_parent = true;
  options.ignore_checksum = true;
  static_cast<void>(vdisk::check_disk(files, "d/a.vhd"));
  if (auto disk = Disk::open(files, "d/a.vhd", Access::read, options)) {
    Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), 3 << 20));
    static_cast<void>((*disk)->read(0, some));
    static_cast<void>((*disk)->extents(0));
  }
  if (auto disk = Disk::open(files, "d/a.vhd", Access::write)) {
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
        files->open((data[0] & 2) != 0 ? "d/a.0001.vhd" : "d/a.vhd", os::OpenMode::read_write).value();
    auto end = file->size().value() - 512;
    for (std::size_t at = 1; at + 4 <= size; at += 4) {
      auto area = data[at] % (kAreas.size() + 1);
      auto in_area = data[at + 1] + (std::uint64_t{data[at + 2]} % 4 << 8);
      auto offset = area == kAreas.size() ? end + in_area % 512 : kAreas[area] + in_area;
      auto value = static_cast<std::byte>(data[at + 3]);
      if (!file->write_at(offset, {&value, 1})) std::abort();
    }
    if ((data[0] & 1) != 0) {
      fix_checksum<vdisk::vhd::Footer>(*file, 0);
      fix_checksum<vdisk::vhd::Footer>(*file, end);
      fix_checksum<vdisk::vhd::Header>(*file, 512);
    }
    if ((data[0] & 4) != 0 && !file->truncate(end + data[1])) std::abort();
  }
  exercise(*files);
  return 0;
}
