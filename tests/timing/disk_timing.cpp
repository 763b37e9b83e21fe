// How fast a chain of VHDX layers is read and written, against pread and pwrite on raw files of the same size
// and content, in the page cache.
//
//   disk_timing [--mib N] [--rounds N] [--directory D] [--json]
//
// The directory (default: a new one below TMPDIR or /tmp) should lie on the kind of file system that disks
// are kept on. Exit status 0 when every ratio asked for was reached, 1 otherwise.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>

#include "common/vdisk/disk.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"
#include "tests/timing/timing.h"

using namespace roamstead;
using timing::Contest;
using timing::Line;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = kKiB * kKiB;

using support::must;

struct Options {
  std::uint64_t bytes = 256 * kMiB;
  int rounds = 7;
  std::string directory;
  bool json = false;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    std::string name = arguments[i];
    auto value = [&]() -> std::string { return i + 1 < count ? arguments[++i] : ""; };
    if (name == "--json") {
      options.json = true;
    } else if (name == "--mib") {
      options.bytes = std::max<std::uint64_t>(16, std::strtoull(value().c_str(), nullptr, 10)) * kMiB;
    } else if (name == "--rounds") {
      options.rounds = std::max(1, std::atoi(value().c_str()));
    } else if (name == "--directory") {
      options.directory = value();
    } else {
      std::cerr << "usage: disk_timing [--mib N] [--rounds N] [--directory D] [--json]\n";
      std::exit(2);
    }
  }
  return options;
}

// Where each transfer of a run goes: all of the disk once, in order or shuffled.
std::vector<std::uint64_t> places(std::uint64_t bytes, std::uint64_t transfer, bool shuffled) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t at = 0; at + transfer <= bytes; at += transfer) offsets.push_back(at);
  if (shuffled) std::shuffle(offsets.begin(), offsets.end(), std::mt19937_64(7));
  return offsets;
}

class DiskTiming {
 public:
  DiskTiming(Options options, std::string directory)
      : options_(std::move(options)), directory_(std::move(directory)), noise_(4 * kMiB) {
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < noise_.size(); i += 8) store_le<std::uint64_t>(noise_, i, random());
  }

  std::vector<Line> run() {
    make_disks();
    for (bool shuffled : {false, true})
      for (auto transfer : {64 * kKiB, kMiB}) reads(shuffled, transfer);
    for (bool shuffled : {false, true})
      for (auto transfer : {4 * kKiB, 64 * kKiB, kMiB}) {
        first_writes(shuffled, transfer);
        rewrites(shuffled, transfer);
      }
    return lines_;
  }

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  template <typename Target>
  void fill(Target& target, double part, std::uint64_t piece = 64 * kKiB) {
    std::mt19937_64 random(static_cast<std::uint64_t>(part * 1000));
    for (auto at : places(options_.bytes, piece, part < 1)) {
      if (static_cast<double>(random() % 1000) >= part * 1000) continue;
      must(write(target, at, ByteView(noise_).subspan(at % (noise_.size() / 2), piece)));
    }
  }
  static Result<void> write(Disk& disk, std::uint64_t at, ByteView data) { return disk.write(at, data); }
  static Result<void> write(os::File& file, std::uint64_t at, ByteView data) {
    return file.write_at(at, data);
  }

  // The raw file, a base as full as it, layers that hold a quarter of it each, in pieces of 64 KiB, and one
  // that holds a tenth in pieces of 4 KiB: what a guest's scattered writes leave.
  void make_disks() {
    raw_ = must(files_.open(path("raw"), os::OpenMode::create_new));
    fill(*raw_, 1);
    must(raw_->sync());
    must(vdisk::create_disk(files_, path("base.vhdx"), options_.bytes));
    layer("base.vhdx", 1);
    must(vdisk::create_child(files_, path("base.vhdx"), path("child.vhdx")));
    layer("child.vhdx", 0.25);
    must(vdisk::create_child(files_, path("child.vhdx"), path("grandchild.vhdx")));
    layer("grandchild.vhdx", 0.26);
    must(vdisk::create_child(files_, path("base.vhdx"), path("scattered.vhdx")));
    layer("scattered.vhdx", 0.1, 4 * kKiB);
  }
  void layer(const std::string& name, double part, std::uint64_t piece = 64 * kKiB) {
    auto disk = must(Disk::open(files_, path(name), Access::write));
    fill(*disk, part, piece);
    must(disk->flush());
  }

  void keep(std::vector<Line> lines) { lines_.insert(lines_.end(), lines.begin(), lines.end()); }
  static std::string named(bool shuffled, std::uint64_t transfer, const std::string& what) {
    return (shuffled ? "random " : "sequential ") + std::to_string(transfer / kKiB) + " KiB " + what;
  }

  void reads(bool shuffled, std::uint64_t transfer) {
    auto offsets = places(options_.bytes, transfer, shuffled);
    Bytes buffer(transfer);
    Contest contest(named(shuffled, transfer, "reads"));
    contest.add("raw file", 0, [&] {
      for (auto at : offsets) must(raw_->read_exactly(at, buffer));
      return static_cast<double>(offsets.size() * transfer);
    });
    std::vector<std::unique_ptr<Disk>> disks;
    auto add = [&](const std::string& name, const std::string& file, double wanted) {
      disks.push_back(must(Disk::open(files_, path(file), Access::read)));
      contest.add(name, wanted, [&, disk = disks.back().get()] {
        for (auto at : offsets) must(disk->read(at, buffer));
        return static_cast<double>(offsets.size() * transfer);
      });
    };
    add("VHDX", "base.vhdx", 0.8);
    add("VHDX and a child", "child.vhdx", 0.8);
    add("VHDX and a scattered child", "scattered.vhdx", 0.8);
    add("VHDX and two children", "grandchild.vhdx", 0.6);
    keep(contest.measure(options_.rounds));
  }

  // Into a new file, both flushed at the end: what a desktop writes into the layer on top since a freeze.
  void first_writes(bool shuffled, std::uint64_t transfer) {
    auto offsets = places(options_.bytes, transfer, shuffled);
    auto data = [&](std::uint64_t at) {
      return ByteView(noise_).subspan(at % (noise_.size() / 2), transfer);
    };
    for (bool flushed : {false, true}) {
      std::unique_ptr<os::File> raw;
      std::unique_ptr<Disk> disk;
      auto prepare = [&] {
        disk.reset();
        raw.reset();
        for (const char* name : {"new.raw", "new.vhdx"})
          if (must(files_.exists(path(name)))) must(files_.remove(path(name)));
        raw = must(files_.open(path("new.raw"), os::OpenMode::create_new));
        must(raw->truncate(options_.bytes));
        must(vdisk::create_child(files_, path("base.vhdx"), path("new.vhdx")));
        disk = must(Disk::open(files_, path("new.vhdx"), Access::write));
        must(raw->sync());
      };
      Contest contest(
          named(shuffled, transfer, flushed ? "writes to a new file, and a flush" : "writes to a new file"));
      contest.add("raw file", 0, [&] {
        for (auto at : offsets) must(raw->write_at(at, data(at)));
        if (flushed) must(raw->sync());
        return static_cast<double>(offsets.size() * transfer);
      });
      contest.add("child of a VHDX", 0.5, [&] {
        for (auto at : offsets) must(disk->write(at, data(at)));
        if (flushed) must(disk->flush());
        return static_cast<double>(offsets.size() * transfer);
      });
      keep(contest.measure(options_.rounds, prepare));
    }
  }

  // Over what is there already.
  void rewrites(bool shuffled, std::uint64_t transfer) {
    auto offsets = places(options_.bytes, transfer, shuffled);
    auto data = [&](std::uint64_t at) {
      return ByteView(noise_).subspan(at % (noise_.size() / 2), transfer);
    };
    auto disk = must(Disk::open(files_, path("new.vhdx"), Access::write));
    Contest contest(named(shuffled, transfer, "writes over what is there"));
    contest.add("raw file", 0, [&] {
      for (auto at : offsets) must(raw_->write_at(at, data(at)));
      return static_cast<double>(offsets.size() * transfer);
    });
    contest.add("child of a VHDX", 0.5, [&] {
      for (auto at : offsets) must(disk->write(at, data(at)));
      return static_cast<double>(offsets.size() * transfer);
    });
    keep(contest.measure(options_.rounds, [&] {
      must(raw_->sync());
      must(disk->flush());
    }));
  }

  Options options_;
  std::string directory_;
  os::FileSystem& files_ = os::real_file_system();
  Bytes noise_;
  std::unique_ptr<os::File> raw_;
  std::vector<Line> lines_;
};

}  // namespace

int main(int count, char** arguments) {
  auto options = parse(count, arguments);
  std::vector<Line> lines;
  if (options.directory.empty()) {
    support::TemporaryDirectory directory;
    lines = DiskTiming(options, directory.path()).run();
  } else {
    auto directory = options.directory + "/disk-timing";
    std::filesystem::create_directories(directory);
    lines = DiskTiming(options, directory).run();
    std::filesystem::remove_all(directory);
  }
  options.json ? timing::print_json(lines) : timing::print_text(lines);
  bool good =
      std::all_of(lines.begin(), lines.end(), [](const Line& line) { return line.ratio >= line.wanted; });
  return good ? 0 : 1;
}
