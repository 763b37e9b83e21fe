// Disks that Windows made. ROAMSTEAD_CORPUS names a folder that has them below disks/; without it nothing is
// tested.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/vdisk/disk.h"
#include "common/vdisk/vhdx_check.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/command.h"
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

bool tools() { return support::available("qemu-img") && support::available("7zz"); }

// The program's reading of the disk, which it writes to its standard output, and ours: compared as it comes.
void compare_with(const std::string& command, const Disk& disk) {
  CAPTURE(command);
  auto* out = ::popen((command + " 2>/dev/null").c_str(), "r");
  REQUIRE(out != nullptr);
  Bytes theirs(4 << 20), ours(4 << 20);
  std::uint64_t offset = 0;
  bool same = true;
  while (const auto count = std::fread(theirs.data(), 1, theirs.size(), out)) {
    if (offset + count > disk.size_bytes()) break;
    REQUIRE(disk.read(offset, MutableByteView(ours).first(count)));
    same = std::memcmp(ours.data(), theirs.data(), count) == 0;
    if (!same) break;
    offset += count;
  }
  ::pclose(out);
  CHECK_MESSAGE(same, "within the 4 MiB at ", offset);
  CHECK(offset == disk.size_bytes());
}

}  // namespace

TEST_CASE("dynamic disks made by Windows read as qemu-img and 7zz read them") {
  if (!tools()) return;
  for (auto [name, with] : {std::pair{"dissect/dissect-dynamic.vhdx.gz", "zcat"},
                            std::pair{"qemu/iotest-dynamic-1G.vhdx.bz2", "bzcat"}}) {
    support::TemporaryDirectory directory;
    const auto path = unpack(directory, name, with);
    if (path.empty()) continue;
    const auto disk = Disk::open(os::real_file_system(), path, Access::read);
    REQUIRE_MESSAGE(disk, disk.error().to_string());
    const auto raw = directory / "out.raw";
    REQUIRE(support::run("qemu-img convert -f vhdx -O raw " + path + " " + raw));
    compare_with("cat " + raw, **disk);
    compare_with("7zz e -so -tvhdx " + path, **disk);
  }
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
  if (tools()) compare_with("7zz e -so -tvhdx " + path, **disk);
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
