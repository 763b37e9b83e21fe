// Times a scan of a volume of many files against `fls -r -p` (The Sleuth Kit): ntfs_scan_timing [FILES
// [IMAGE]]. An image that exists is used as it is.
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <iostream>

#include "common/ntfs/volume.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace roamstead;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void fill(const std::string& path, std::size_t files) {
  support::format_ntfs(path, {4ull << 30});
  support::NtfsImage image(path);
  for (std::size_t i = 0; i < files; ++i) {
    const auto directory = "directory " + std::to_string(i / 200);
    if (i % 200 == 0) image.make_directory(directory);
    image.write(directory + "/a file of the user " + std::to_string(i) + ".txt", 0,
                Bytes(i * 37 % 9000, std::byte{1}));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t files = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  support::TemporaryDirectory directory;
  const std::string path = argc > 2 ? argv[2] : directory / "volume.img";
  if (!std::filesystem::exists(path)) fill(path, files);
  const auto device = support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read).value();
  for (int round = 0; round < 3; ++round) {
    std::size_t seen = 0;
    std::size_t bytes = 0;
    const auto volume = ntfs::Volume::open(*device).value();
    const auto timed_scan = [&](const std::function<void(const ntfs::FileRecord&)>& visit) {
      return seconds_of([&] {
        const auto scanned = volume->scan([&](std::uint64_t, const Result<ntfs::FileRecord>& file) {
          if (file) visit(*file);
          return true;
        });
        if (!scanned) std::cout << scanned.error().to_string() << '\n';
      });
    };
    const double scan = timed_scan([&](const ntfs::FileRecord&) { ++seen; });
    const auto cpu_start = std::clock();
    timed_scan([](const ntfs::FileRecord&) {});
    const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    const double paths = timed_scan([&](const ntfs::FileRecord& file) {
      for (const auto& name : file.names) bytes += volume->path_of(name)->size();
    });
    const double fls = seconds_of([&] {
      if (std::system(("fls -r -p '" + path + "' > /dev/null").c_str()) != 0) std::cout << "fls failed\n";
    });
    std::cout << seen << " files; scan " << scan << " s ("
              << static_cast<double>(volume->info().record_count) / scan / 1e6
              << " M records/s; processor time " << cpu << " s), with paths (" << bytes << " bytes) " << paths
              << " s; fls " << fls << " s: " << fls / paths << " times as long\n";
  }
}
