// What NTFS stores, as JSON and as text for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/ntfs/file_details.h"
#include "common/ntfs/volume_check.h"
#include "common/ntfs/volume_state.h"
#include "common/vdisk/disk.h"

namespace roamstead::cli {

// What is printed: JSON with --json, else text.
struct Printed {
  nlohmann::json json;
  std::string text;
};

// "2021-03-04T05:06:07.1234567Z"; the number itself beyond the year 9999, "-" for 0.
std::string time_text(std::uint64_t time_100ns);
// "archive,compressed" of FILE_ATTRIBUTE_…
std::string attributes_text(std::uint32_t attributes);

Printed describe_state(const ntfs::VolumeState& state);
// `info` only where the volume is NTFS.
void add_info(Printed& printed, const ntfs::VolumeInfo& info);
// What the volume's change journal ($UsnJrnl) holds.
void add_change_journal(Printed& printed, const ntfs::Volume& volume);
// A line for each partition of a disk, or for the disk where there is no table; what cannot be read says why.
Printed describe_volumes(vdisk::Disk& disk);
// Everything of a file; the volume is asked for its paths, its security descriptor and its reparse point.
Printed describe_file(const ntfs::Volume& volume, const ntfs::FileDetails& details);
Printed describe_report(const ntfs::VolumeCheckReport& report);

}  // namespace roamstead::cli
