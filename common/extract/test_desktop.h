// A desktop's disk for tests: a golden image with one NTFS volume, a child of it in use, frozen on request.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/extract/extract.h"
#include "common/extract/snapshot.h"
#include "common/extract/test_tree.h"
#include "common/vdisk/disk.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::extract {

inline constexpr const char* kTestRoot = "Users/alice";

// Throws std::runtime_error where something fails.
class TestDesktop {
 public:
  // `prepare` fills the golden image's volume, which has Users/alice, Users/other and
  // ProgramData/Roamstead/staging. Golden image and clone are of `format`.
  explicit TestDesktop(const std::function<void(support::NtfsImage&)>& prepare = {},
                       std::uint64_t volume_bytes = 48u << 20, vdisk::Format format = vdisk::Format::vhdx);
  ~TestDesktop();

  support::NtfsImage& volume();  // mounted when first asked for, unmounted by freeze()
  void unmount() { volume_.reset(); }
  // The path of what is frozen now.
  vdisk::Disk::Frozen freeze();
  vdisk::Disk& disk() { return *disk_; }
  const std::string& golden_path() const { return golden_path_; }
  // By an extractor that lives on from call to call, now and then closed and opened again, or with its map
  // damaged or gone. What it cuts must be what one without a past cuts, or this throws.
  std::unique_ptr<Extraction> extract(Request request);
  // Merges frozen layers so that as few as possible are left; the layer `keep` stays.
  void merge(const Guid& keep);
  // Extractions for which no pass over the MFT was made.
  int went_on() const { return went_on_; }
  // Extractions that read the journal once.
  int journals_continued() const { return journals_continued_; }
  TestTree read_profile(const std::string& frozen_path, const std::string& root = kTestRoot);

 private:
  void open();
  void disturb_extractor();

  support::TemporaryDirectory directory_;
  std::string golden_path_;
  std::string disk_path_;
  std::unique_ptr<vdisk::Disk> disk_;
  std::unique_ptr<vdisk::SubDevice> partition_;
  std::unique_ptr<support::NtfsImage> volume_;
  std::unique_ptr<Extractor> extractor_;
  int extractions_ = 0;
  int went_on_ = 0;
  int journals_continued_ = 0;
};

}  // namespace roamstead::extract
