// A pool's template: a child of the golden image that holds what all its desktops have in common, with room
// for what each has of its own. A desktop's disk is a child of the template in which a few sectors are
// patched: no hive is parsed for it, no NTFS structure written, nothing read but those sectors.
//
// A template is never written once it has children.
#pragma once

#include <string>
#include <vector>

#include "common/registry/editor.h"
#include "coordinator/compose/units.h"

namespace roamstead::compose {

// A piece of the disk.
struct DiskExtent {
  std::uint64_t file_offset = 0;
  std::uint64_t disk_offset = 0;
  std::uint64_t bytes = 0;
};

// A hive on the template, and the values in it that a desktop fills in.
struct HiveSlots {
  struct Slot {
    std::string key;
    std::string name;
    std::uint32_t type = 0;
    std::uint32_t capacity_bytes = 0;
    // In the hive's file: where the value's length is (4 bytes), and its data.
    std::uint64_t length_offset = 0;
    std::uint64_t data_offset = 0;
  };
  HiveId hive = HiveId::system;
  Bytes base_block;  // its first sector
  std::vector<DiskExtent> extents;
  std::vector<Slot> slots;
};

struct FileSlot {
  std::string path;
  std::uint32_t capacity_bytes = 0;
  std::vector<DiskExtent> extents;
};

struct TemplateLayer {
  std::string path;  // of the disk
  std::vector<HiveSlots> hives;
  std::vector<FileSlot> files;

  std::string to_json() const;
  static Result<TemplateLayer> parse(const std::string& json, const std::string& source);
};

// Applied in order. Errors name the edit.
Result<void> apply_edits(registry::Editor& editor, HiveId hive, const std::vector<RegistryEdit>& edits);

// Beside a disk, the name of one that is to take its place, or to become it, when it is complete.
std::string making_path_of(const std::string& path);

// Makes the disk at `path`, which must not exist; it appears when it is complete and durable. The image has
// been inspected, and is not changed. `own` says which values and files get room; their data does not matter.
Result<TemplateLayer> make_template(os::FileSystem& files, const WindowsImage& image, const ImageHives& hives,
                                    const std::string& path, const Edits& common, const OwnEdits& own);

// Makes a desktop's disk at `path`, which must not exist, as a child of the template. ErrorCode::internal
// when `own` does not fit the template's room.
Result<void> make_clone_disk(os::FileSystem& files, const TemplateLayer& base, const std::string& path,
                             const OwnEdits& own);
// The same on a disk that is there: a full copy of the template.
Result<void> patch_clone_disk(os::FileSystem& files, const TemplateLayer& base, const std::string& path,
                              const OwnEdits& own);
// Makes or replaces files on the Windows volume of a disk that nobody uses, with their directories.
Result<void> place_files(os::FileSystem& files, const std::string& disk, const std::vector<FileEdit>& edits);
// A new child, at `path`, of a disk that was made so, in which the files are others: a new identity.
Result<void> make_refreshed_disk(os::FileSystem& files, const TemplateLayer& base,
                                 const std::string& reference, const std::string& path, const OwnEdits& own);

}  // namespace roamstead::compose
