#include "common/extract/test_desktop.h"

#include <stdexcept>

#include "common/volume/partition.h"
#include "tests/support/must.h"

namespace roamstead::extract {
namespace {

using support::must;

void copy_image(const std::string& image, vdisk::BlockDevice& device) {
  auto file = must(os::real_file_system().open(image, os::OpenMode::read));
  const auto size = must(file->size());
  Bytes buffer(64 << 10);
  for (std::uint64_t at = 0; at < size; at += buffer.size()) {
    const auto count = must(file->read_at(at, buffer));
    const auto part = ByteView(buffer).first(count);
    if (!all_zero(part)) must(device.write(at, part));
  }
}

}  // namespace

TestDesktop::TestDesktop(const std::function<void(support::NtfsImage&)>& prepare, std::uint64_t volume_bytes,
                         vdisk::Format format)
    : golden_path_(directory_ / ("golden." + std::string(vdisk::to_string(format)))),
      disk_path_(directory_ / ("desktop." + std::string(vdisk::to_string(format)))) {
  auto& files = os::real_file_system();
  const auto image = directory_ / "image";
  support::FormatOptions options;
  options.size_bytes = volume_bytes;
  support::format_ntfs(image, options);
  must(vdisk::create_disk(files, golden_path_, volume_bytes + (4u << 20), {.format = format}));
  {
    auto golden = must(vdisk::Disk::open(files, golden_path_, vdisk::Access::write));
    const auto place = must(volume::create_single_partition(*golden, "test"));
    vdisk::SubDevice device(*golden, place.offset_bytes, volume_bytes, "golden volume");
    copy_image(image, device);
    support::NtfsImage ntfs(device);
    for (const char* path : {"Users", "Users/alice", "Users/other", "ProgramData", "ProgramData/Roamstead",
                             "ProgramData/Roamstead/staging"})
      ntfs.make_directory(path);
    if (prepare) prepare(ntfs);
  }
  must(files.remove(image));
  must(vdisk::create_child(files, golden_path_, disk_path_));
  open();
}

TestDesktop::~TestDesktop() { unmount(); }

void TestDesktop::open() {
  disk_ = must(vdisk::Disk::open(os::real_file_system(), disk_path_, vdisk::Access::write));
  const auto table = must(volume::read_partition_table(*disk_));
  const auto& place = table.partitions.at(0);
  partition_ = std::make_unique<vdisk::SubDevice>(*disk_, place.offset_bytes, place.size_bytes, "volume");
}

support::NtfsImage& TestDesktop::volume() {
  if (!volume_) volume_ = std::make_unique<support::NtfsImage>(*partition_);
  return *volume_;
}

vdisk::Disk::Frozen TestDesktop::freeze() {
  unmount();
  return must(disk_->freeze());
}

std::unique_ptr<Extraction> TestDesktop::extract(Request request) {
  if (request.taken_100ns == 0) request.taken_100ns = 1;
  disturb_extractor();
  auto kept = must(extractor_->extract(request));
  const auto fresh = must(extract::extract(os::real_file_system(), request));
  if (kept->batch() != fresh->batch() || kept->locators() != fresh->locators())
    throw std::runtime_error("extraction " + std::to_string(extractions_) +
                             "\nby the extractor that lived on:\n" + describe(kept->batch()) +
                             "\nby a new one:\n" + describe(fresh->batch()));
  if (!kept->statistics().map_built) ++went_on_;
  if (kept->statistics().journal_continued) ++journals_continued_;
  return kept;
}

void TestDesktop::disturb_extractor() {
  auto& files = os::real_file_system();
  const auto map = directory_ / "clusters.map";
  ++extractions_;
  if (extractions_ % 3 == 0) extractor_.reset();
  if (extractions_ % 9 == 0 && must(files.exists(map))) must(files.remove(map));
  if (extractions_ % 6 == 0 && must(files.exists(map))) {
    auto bytes = must(os::read_file(files, map, 1 << 30));
    auto& byte = bytes[static_cast<std::size_t>(extractions_) * 7919 % bytes.size()];
    byte ^= std::byte{0x10};
    must(os::write_file_durably(files, map, bytes));
  }
  if (extractor_ == nullptr)
    extractor_ = std::make_unique<Extractor>(files, Extractor::Options{map, extractions_ % 2 == 0});
}

void TestDesktop::merge(const Guid& keep) {
  for (;;) {
    const auto layers = disk_->layers();  // the top is in use, the last is the golden image
    std::size_t upper = 1;
    while (upper + 2 < layers.size() && layers[upper + 1].id == keep) ++upper;
    if (upper + 2 >= layers.size()) return;
    must(disk_->merge(upper));
  }
}

TestTree TestDesktop::read_profile(const std::string& frozen_path, const std::string& root) {
  auto snapshot = must(Snapshot::open(os::real_file_system(), frozen_path, 0));
  return read_tree(snapshot->volume(), root);
}

}  // namespace roamstead::extract
