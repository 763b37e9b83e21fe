// How fast VHD disks are read, against libvhdi on the same files, in the page cache.
//
//   vhd_timing [--mib N] [--rounds N] [--json]
//
// Exit status 0 when every ratio asked for was reached, 1 otherwise.
#include <cstdlib>
#include <iostream>
#include <random>

#include "common/vdisk/disk.h"
#include "coordinator/crosscheck/libvhdi_disk.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"
#include "tests/timing/timing.h"

using namespace roamstead;
using crosscheck::LibvhdiDisk;
using timing::Contest;
using timing::Line;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kPiece = 64 * 1024;
constexpr double kWanted = 20;

using support::must;

void fill(const std::string& path, std::uint64_t bytes, unsigned every) {
  auto disk = must(Disk::open(os::real_file_system(), path, Access::write));
  std::mt19937_64 random(every);
  Bytes noise(kPiece);
  for (std::uint64_t at = 0; at < bytes; at += kPiece * every) {
    for (std::size_t i = 0; i < noise.size(); i += 8) store_le<std::uint64_t>(noise, i, random());
    must(disk->write(at, noise));
  }
  must(disk->flush());
}

std::vector<Line> contest(const std::string& work, const std::vector<std::string>& paths, std::uint64_t bytes,
                          int rounds) {
  auto ours = must(Disk::open(os::real_file_system(), paths.front(), Access::read));
  auto theirs = must(LibvhdiDisk::open(paths));
  Bytes buffer(kPiece);
  auto all = [&](auto& disk) {
    for (std::uint64_t at = 0; at < bytes; at += kPiece) must(disk.read(at, buffer));
    return static_cast<double>(bytes);
  };
  Contest contest(work);
  contest.add("libvhdi", 0, [&] { return all(*theirs); });
  contest.add("ours", kWanted, [&] { return all(*ours); });
  return contest.measure(rounds);
}

}  // namespace

int main(int count, char** arguments) {
  std::uint64_t bytes = 64u << 20;
  int rounds = 3;
  bool json = false;
  for (int i = 1; i < count; ++i) {
    std::string name = arguments[i];
    if (name == "--mib" && i + 1 < count)
      bytes = std::max<std::uint64_t>(8, std::strtoull(arguments[++i], nullptr, 10)) << 20;
    else if (name == "--rounds" && i + 1 < count)
      rounds = std::max(1, std::atoi(arguments[++i]));
    else
      json = true;
  }
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  auto base = directory / "base.vhd";
  auto child = directory / "child.vhd";
  must(vdisk::create_disk(files, base, bytes, {.format = vdisk::Format::vhd}));
  fill(base, bytes, 1);
  must(vdisk::create_child(files, base, child));
  fill(child, bytes, 4);
  auto lines = contest("sequential 64 KiB reads, dynamic", {base}, bytes, rounds);
  for (auto& line : contest("sequential 64 KiB reads, child and parent", {child, base}, bytes, rounds))
    lines.push_back(line);
  if (json)
    timing::print_json(lines);
  else
    timing::print_text(lines);
  for (const auto& line : lines)
    if (line.ratio < line.wanted) return 1;
  return 0;
}
