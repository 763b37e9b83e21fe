// Volumes that Windows made, from a folder outside the tree (ROAMSTEAD_CORPUS), compared with what fls sees.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "common/base/text.h"
#include "common/ntfs/volume.h"
#include "tests/support/memory_device.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

std::string output_of(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[65536];
  for (std::size_t count; (count = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, count);
  pclose(pipe);
  return output;
}

// "record-path[:stream]" of everything fls lists that is in use, but for what it makes up itself.
std::multiset<std::string> fls_listing(const std::string& image) {
  std::multiset<std::string> listing;
  std::istringstream lines(output_of("fls -r -p " + image));
  for (std::string line; std::getline(lines, line);) {
    const auto tab = line.find('\t');
    if (tab == std::string::npos || line[4] == '*' || line.starts_with("V/V")) continue;
    const auto address = line.substr(4, tab - 4);
    const auto type = address.substr(address.find('-') + 1);
    if (!type.starts_with("128") && !type.starts_with("144-")) continue;
    auto path = line.substr(tab + 1);
    if (type.starts_with("144-") && path.find(':') != std::string::npos)
      continue;  // indexes shown as streams
    listing.insert(address.substr(0, address.find('-')) + " " + path);
  }
  return listing;
}

std::multiset<std::string> our_listing(const Volume& volume) {
  std::multiset<std::string> listing;
  auto scanned = volume.scan([&](std::uint64_t number, Result<FileRecord> file) {
    CHECK_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
    if (!file || number == kRootRecord) return true;
    for (const auto& name : file->names) {
      auto path = volume.path_of(name);
      CHECK_MESSAGE(path.has_value(), (path ? "" : path.error().to_string()));
      if (!path) continue;
      const auto prefix = std::to_string(number) + " " + *path;
      if (file->directory) listing.insert(prefix);
      for (const auto& stream : file->streams)
        listing.insert(stream.name.empty() ? prefix : prefix + ":" + stream.name);
    }
    return true;
  });
  CHECK(scanned.has_value());
  return listing;
}

std::string corpus_file(const std::string& name) {
  const char* corpus = std::getenv("ROAMSTEAD_CORPUS");
  if (corpus == nullptr || !std::filesystem::exists(std::string(corpus) + "/" + name)) {
    std::cout << "skipped: set ROAMSTEAD_CORPUS to a folder with " << name << '\n';
    return "";
  }
  return std::string(corpus) + "/" + name;
}

}  // namespace

TEST_CASE("a volume made by Windows shows what fls shows, and its index and MFT agree") {
  const auto packed = corpus_file("ntfs/dissect/ntfs.bin.gz");
  if (packed.empty()) return;
  support::TemporaryDirectory directory;
  const auto image = directory / "volume.img";
  REQUIRE(std::system(("zcat " + packed + " > " + image).c_str()) == 0);
  auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read);
  REQUIRE(device.has_value());
  auto volume = Volume::open(**device);
  REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
  CHECK((*volume)->info().label == "New Volume");

  const auto ours = our_listing(**volume);
  const auto theirs = fls_listing(image);
  CHECK(theirs.size() > 2000);
  for (const auto& line : theirs) CHECK_MESSAGE(ours.contains(line), line);
  for (const auto& line : ours) CHECK_MESSAGE(theirs.contains(line), line);
}

}  // namespace roamstead::ntfs
