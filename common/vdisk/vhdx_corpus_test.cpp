// Disks that Windows made. ROAMSTEAD_CORPUS names a folder that has them below disks/; without it nothing is
// tested.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "common/vdisk/disk.h"
#include "common/vdisk/vhdx_check.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/corpus.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

// The unpacked file, or "" with a message.
std::string unpack(const support::TemporaryDirectory& directory, const std::string& name,
                   const std::string& with) {
  const auto packed = support::corpus("disks/" + name);
  if (packed.empty()) return "";
  auto base = os::base_name(name);
  auto path = directory / base.substr(0, base.find_last_of('.'));
  REQUIRE(std::system((with + " < " + packed + " > " + path).c_str()) == 0);
  return path;
}

// qemu-img's reading of the disk and ours, megabyte by megabyte.
void compare_with_qemu(const std::string& path, const std::string& out) {
  if (std::system("command -v qemu-img >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: qemu-img is not installed");
    return;
  }
  REQUIRE(std::system(("qemu-img convert -f vhdx -O raw " + path + " " + out + " 2>/dev/null").c_str()) == 0);
  auto disk = Disk::open(os::real_file_system(), path, Access::read);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  auto other = os::real_file_system().open(out, os::OpenMode::read).value();
  REQUIRE(other->size().value() == (*disk)->size_bytes());
  Bytes ours(1 << 20), theirs(1 << 20);
  for (std::uint64_t offset = 0; offset < (*disk)->size_bytes(); offset += ours.size()) {
    auto count = std::min<std::uint64_t>(ours.size(), (*disk)->size_bytes() - offset);
    REQUIRE((*disk)->read(offset, MutableByteView(ours).first(count)));
    REQUIRE(other->read_exactly(offset, MutableByteView(theirs).first(count)));
    CHECK_MESSAGE(std::equal(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(count), theirs.begin()),
                  "within the MiB at ", offset);
  }
}

}  // namespace

TEST_CASE("dynamic disks made by Windows read as qemu-img reads them") {
  support::TemporaryDirectory directory;
  if (auto path = unpack(directory, "dissect/dissect-dynamic.vhdx.gz", "zcat"); !path.empty())
    compare_with_qemu(path, directory / "out.raw");
  if (auto path = unpack(directory, "qemu/iotest-dynamic-1G.vhdx.bz2", "bzcat"); !path.empty())
    compare_with_qemu(path, directory / "out.raw");
}

TEST_CASE("a Hyper-V checkpoint without its parent is described, and refused by the parent's name") {
  support::TemporaryDirectory directory;
  auto path = unpack(directory, "dissect/dissect-differencing.avhdx.gz", "zcat");
  if (path.empty()) return;
  auto info = vdisk::inspect(os::real_file_system(), path);
  REQUIRE_MESSAGE(info, info.error().to_string());
  CHECK(info->kind == vdisk::LayerKind::differencing);
  CHECK(info->virtual_bytes == std::uint64_t{8} << 30);
  CHECK_FALSE(info->parent_id.is_zero());
  auto disk = Disk::open(os::real_file_system(), path, Access::read);
  REQUIRE_FALSE(disk);
  MESSAGE(disk.error().to_string());
  CHECK(disk.error().code == ErrorCode::not_found);
  CHECK(disk.error().message.find("missing") != std::string::npos);
  CHECK(disk.error().message.find(info->parent_id.to_string()) != std::string::npos);
}

TEST_CASE(
    "the sectors that a Hyper-V checkpoint holds are read as 7zz reads them above a parent made for it") {
  support::TemporaryDirectory directory;
  auto path = unpack(directory, "dissect/dissect-differencing.avhdx.gz", "zcat");
  if (path.empty()) return;
  auto& files = os::real_file_system();
  const auto findings = vdisk::vhdx::check_file(files, path).value();
  for (const auto& each : findings) CHECK_MESSAGE(each.severity == vdisk::Finding::Severity::note, each.text);
  auto layer = vdisk::vhdx::VhdxLayer::open(files, path, Access::read);
  REQUIRE_MESSAGE(layer, layer.error().to_string());
  auto held = (*layer)->extents().value();
  CHECK(held.total_bytes() > 1 << 20);
  // An empty disk with the id that is asked for, at a place that the locator names.
  auto info = vdisk::inspect(files, path).value();
  auto parent = directory / os::base_name(info.parent_path);
  REQUIRE(vdisk::create_disk(files, parent, info.virtual_bytes));
  {
    auto writer = vdisk::vhdx::VhdxLayer::open(files, parent, Access::write).value();
    REQUIRE(writer->set_id(info.parent_id));
  }
  auto disk = Disk::open(files, path, Access::read);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  if (std::system("command -v 7zz >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: 7zz is not installed");
    return;
  }
  // Its output is compared while it comes: 8 GiB, nearly all zeros.
  auto* out = ::popen(("7zz e -so -tvhdx " + path + " 2>/dev/null").c_str(), "r");
  REQUIRE(out != nullptr);
  Bytes theirs(4 << 20), ours(4 << 20);
  std::uint64_t offset = 0;
  bool same = true;
  while (auto count = std::fread(theirs.data(), 1, theirs.size(), out)) {
    if (offset + count > info.virtual_bytes) break;
    REQUIRE((*disk)->read(offset, MutableByteView(ours).first(count)));
    if (std::memcmp(ours.data(), theirs.data(), count) != 0) {
      same = false;
      break;
    }
    offset += count;
  }
  ::pclose(out);
  CHECK_MESSAGE(same, "within the 4 MiB at ", offset);
  CHECK(offset == info.virtual_bytes);
}

TEST_CASE("the check finds nothing wrong with disks that Windows made") {
  support::TemporaryDirectory directory;
  for (auto [name, with] : {std::pair{"dissect/dissect-dynamic.vhdx.gz", "zcat"},
                            std::pair{"qemu/iotest-dynamic-1G.vhdx.bz2", "bzcat"}}) {
    auto path = unpack(directory, name, with);
    if (path.empty()) continue;
    const auto findings = vdisk::vhdx::check_file(os::real_file_system(), path).value();
    for (const auto& each : findings)
      CHECK_MESSAGE(each.severity == vdisk::Finding::Severity::note, name, ": ", each.text);
  }
}
