// Volumes and MFTs that Windows made, record by record as libfsntfs (fsntfsinfo) sees them.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "common/ntfs/record.h"
#include "common/ntfs/runs.h"
#include "common/ntfs/volume.h"
#include "common/os/file.h"
#include "tests/support/command_output.h"
#include "tests/support/corpus.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

// An MFT saved as a file, put where its own first record says it lies, on an otherwise empty disk.
struct SavedMft final : vdisk::BlockDevice {
  explicit SavedMft(Bytes saved) : mft(std::move(saved)) {
    auto first = Bytes(mft.begin(), mft.begin() + 1024);
    REQUIRE(apply_fixups(first).has_value());
    const auto header = parse_record_header(first, 0).value();
    std::vector<AttributeView> attributes;
    REQUIRE(parse_attributes(first, header, attributes).has_value());
    for (const auto& attribute : attributes)
      if (attribute.type == kData && !attribute.resident)
        REQUIRE(
            append_runs(attribute.value, 0, attribute.cluster_count, size_bytes() / 4096, runs).has_value());
    REQUIRE(!runs.empty());
    support::Fields fields;
    fields.bytes_at(3, as_bytes("NTFS    ")).at<std::uint16_t>(11, 512).at<std::uint8_t>(13, 8);
    fields.at(40, size_bytes() / 512).at(48, runs.front().lcn).at(56, runs.front().lcn);
    boot = fields.at<std::uint8_t>(64, 0xF6).at<std::uint8_t>(68, 1).at<std::uint16_t>(510, 0xAA55).padded();
  }
  std::uint64_t size_bytes() const override { return std::uint64_t{1} << 40; }
  std::string name() const override { return "saved MFT"; }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = byte_at(offset + i);
    return {};
  }
  std::byte byte_at(std::uint64_t offset) const {
    if (offset < boot.size()) return boot[static_cast<std::size_t>(offset)];
    for (const auto& run : runs)
      if (const auto within = offset - run.lcn * 4096; within < run.clusters * 4096)
        if (const auto at = run.vcn * 4096 + within; at < mft.size())
          return mft[static_cast<std::size_t>(at)];
    return std::byte{0};
  }

  Bytes mft;
  std::vector<Run> runs;
  Bytes boot;
};

// What fsntfsinfo prints of one attribute.
struct ListedAttribute {
  std::string type, name, parent, name_space, size, first_vcn, path;
};

// "NUMBER-SEQUENCE what" of everything in use: names with their parents and paths, data streams with their
// sizes, directories.
std::multiset<std::string> fsntfsinfo_listing(const std::string& path) {
  std::multiset<std::string> listing;
  std::istringstream lines(support::output_of("fsntfsinfo -E all " + path));
  bool in_use = false;
  std::string file;
  ListedAttribute attribute;
  const auto finish = [&] {
    const auto done = std::exchange(attribute, {});
    if (!in_use) return;
    if (done.type.starts_with("$FILE_NAME") && !done.name_space.starts_with("DOS (")) {
      listing.insert(file + " name " + done.parent + " " + done.name);
      if (!done.path.empty()) listing.insert(file + " path " + done.path);
    }
    if (done.type.starts_with("$DATA") && done.first_vcn == "0")
      listing.insert(file + " data '" + done.name + "' " + done.size);
    if (done.type.starts_with("$INDEX_ROOT") && done.name == "$I30") listing.insert(file + " directory");
  };
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Attribute:") || line.starts_with("MFT entry:")) finish();
    const auto colon = line.find(": ");
    if (line.empty() || line[0] != '\t' || colon == std::string::npos) continue;
    const auto key = line.substr(1, line.find_first_of("\t:", 1) - 1), value = line.substr(colon + 2);
    if (key == "Is allocated") in_use = value == "true";
    if (key == "File reference") file = value;
    if (key == "Base record file reference") {
      if (!value.starts_with("Not set"))
        file = value;  // an extension: part of that file
      else if (in_use)
        listing.insert(file);
    }
    if (key == "Type") attribute.type = value, attribute.first_vcn = "0";
    if (key == "Parent file reference") attribute.parent = value;
    if (key == "Name space") attribute.name_space = value;
    if (key == "Name") attribute.name = value;
    if (key == "Path hint") attribute.path = value;
    if (key == "Data size") attribute.size = value.substr(0, value.find(' '));
    if (key == "Data VCN range" || key == "Data VCN") attribute.first_vcn = value.substr(0, value.find(' '));
  }
  finish();
  return listing;
}

std::string text_of(const FileReference& reference) {
  return std::to_string(reference.record) + "-" + std::to_string(reference.sequence);
}

// The same by us. Of NTFS's own files libfsntfs knows paths in its own way.
std::multiset<std::string> our_listing(const Volume& volume) {
  std::multiset<std::string> listing;
  CHECK(volume
            .scan([&](std::uint64_t, const Result<FileRecord>& file) {
              CHECK_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
              if (!file) return true;
              const auto prefix = text_of(file->reference);
              listing.insert(prefix);
              for (const auto& name : file->names) {
                listing.insert(prefix + " name " + text_of(name.parent) + " " + name.name);
                auto path = volume.path_of(name);
                CHECK_MESSAGE(path.has_value(), (path ? "" : path.error().to_string()));
                if (!path) continue;
                std::replace(path->begin(), path->end(), '/', '\\');
                listing.insert(prefix + " path \\" + *path);
              }
              for (const auto& stream : file->streams)
                listing.insert(prefix + " data '" + stream.name + "' " + std::to_string(stream.size_bytes));
              if (file->directory) listing.insert(prefix + " directory");
              return true;
            })
            .has_value());
  return listing;
}

void compare(std::multiset<std::string> ours, const std::multiset<std::string>& theirs) {
  const auto is_path = [](const std::string& line) { return line.find(" path ") != std::string::npos; };
  // Of saved MFTs it tells paths too, of whole volumes not.
  if (std::none_of(theirs.begin(), theirs.end(), is_path)) std::erase_if(ours, is_path);
  std::size_t differences = 0;
  const auto report = [&](const auto& these, const auto& those, const std::string& who) {
    for (const auto& line : these)
      if (these.count(line) != those.count(line) && ++differences <= 20)
        FAIL_CHECK("only, or more often, seen by ", who, ": ", line);
  };
  report(ours, theirs, "us");
  report(theirs, ours, "libfsntfs");
  CHECK(differences == 0);
}

}  // namespace

TEST_CASE("a volume made by Windows is, record by record, what libfsntfs says") {
  const auto packed = support::corpus("ntfs/dissect/ntfs.bin.gz");
  if (packed.empty() || !support::available("fsntfsinfo")) return;
  support::TemporaryDirectory directory;
  const auto image = directory / "volume.img";
  REQUIRE(support::run("zcat " + packed + " > " + image));
  const auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read).value();
  const auto volume = Volume::open(*device).value();
  const auto theirs = fsntfsinfo_listing(image);
  CHECK(theirs.size() > 6000);
  compare(our_listing(*volume), theirs);
  const auto about = support::output_of("fsntfsinfo " + image);
  const auto& info = volume->info();
  const auto says = [&](const std::string& key, const std::string& value) {
    const auto at = about.find("\t" + key);
    REQUIRE(at != std::string::npos);
    const auto start = about.find(": ", at) + 2;
    CHECK_MESSAGE(about.substr(start, about.find('\n', start) - start) == value, key);
  };
  says("Name", info.label);
  says("Version", std::to_string(info.major_version) + "." + std::to_string(info.minor_version));
  says("Bytes per sector", std::to_string(info.sector_bytes));
  says("Cluster block size", std::to_string(info.cluster_bytes));
  says("MFT entry size", std::to_string(info.record_bytes));
}

TEST_CASE("MFTs saved from Windows machines are, record by record, what libfsntfs says") {
  const auto folder = support::corpus("ntfs/libmft");
  if (folder.empty() || !support::available("fsntfsinfo")) return;
  support::TemporaryDirectory directory;
  const auto unpacked = directory / "mft.bin";
  REQUIRE(support::run("zcat " + support::corpus("ntfs/dissect/mft.bin.gz") + " > " + unpacked));
  std::vector<std::string> paths{unpacked, support::corpus("ntfs/dissect/target-mft.raw")};
  for (const auto& item : std::filesystem::directory_iterator(folder)) paths.push_back(item.path().string());
  CHECK(paths.size() >= 15);
  for (const auto& path : paths) {
    CAPTURE(path);
    SavedMft device(os::read_file(os::real_file_system(), path, 1 << 20).value());
    auto volume = Volume::open(device);
    REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
    const auto theirs = fsntfsinfo_listing(path);
    CHECK(theirs.size() > 60);
    compare(our_listing(**volume), theirs);
  }
}

}  // namespace roamstead::ntfs
