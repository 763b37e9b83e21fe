// Everything a volume can be asked, for tests with hostile volumes.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/ntfs/file_details.h"
#include "common/ntfs/reparse.h"
#include "common/ntfs/security_text.h"
#include "common/ntfs/usn_journal.h"
#include "common/ntfs/volume_check.h"
#include "common/ntfs/volume_state.h"
#include "common/ntfs/wof.h"

namespace roamstead::support {

// The errors; what the answers are does not matter.
inline std::vector<std::string> ask_everything(const vdisk::BlockDevice& device,
                                               const std::vector<std::string>& paths) {
  std::vector<std::string> errors;
  const auto note = [&](const auto& result) {
    if (!result) errors.push_back(result.error().to_string());
    return result.has_value();
  };
  auto opened = ntfs::Volume::open(device);
  if (!note(opened)) return errors;
  const auto& volume = **opened;
  Bytes buffer(4096);
  note(volume.scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    if (!note(file)) return true;
    for (const auto& name : file->names) note(volume.path_of(name));
    for (const auto& stream : file->streams) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(stream.size_bytes, buffer.size()));
      note(volume.read(stream, 0, MutableByteView(buffer).first(count)));
      note(volume.read(stream, stream.size_bytes - count, MutableByteView(buffer).first(count)));
      volume.device_extents(stream);
    }
    if (file->directory) note(volume.list(number));
    if (file->security_id != 0) note(volume.security_descriptor(file->security_id));
    return true;
  }));
  for (const auto& path : paths) note(volume.lookup(path));
  volume.records_in({0, device.size_bytes()});
  return errors;
}

// What the tools ask: states, details, deleted files, the check, content as programs read it.
inline std::vector<std::string> ask_tools(const vdisk::BlockDevice& device) {
  std::vector<std::string> errors;
  const auto note = [&](const auto& result) {
    if (!result) errors.push_back(result.error().to_string());
    return result.has_value();
  };
  note(ntfs::volume_state(device));
  const auto report = ntfs::check_volume(device);
  if (!note(report)) return errors;
  for (const auto& finding : report->findings)
    if (finding.severity == vdisk::Finding::Severity::error)
      errors.push_back(device.name() + ": at byte " + std::to_string(finding.offset) + ": " + finding.text);
  note(ntfs::scan_deleted(device, [](const ntfs::DeletedFile&) { return true; }));
  const auto opened = ntfs::Volume::open(device);
  if (!note(opened)) return errors;
  const auto& volume = **opened;
  Bytes buffer(70'000);
  for (std::uint64_t number = 0; number < std::min<std::uint64_t>(volume.info().record_count, 32); ++number) {
    const auto file = volume.record(number);
    if (!file) continue;
    note(ntfs::file_details(device, number));
    if (file->reparse_tag) ntfs::describe_reparse(*file->reparse_tag, file->reparse_data).to_string();
    if (const auto security = volume.security_descriptor(file->security_id))
      note(ntfs::describe_security(*security));
    const auto content = ntfs::FileContent::open(volume, *file);
    if (!content) continue;
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(content->size_bytes(), buffer.size()));
    note(content->read(0, MutableByteView(buffer).first(count)));
  }
  if (const auto journal = ntfs::UsnJournal::open(volume)) note(journal->renames(0));
  return errors;
}

}  // namespace roamstead::support
