// A virtual disk: a chain of layers (raw, VHDX, VHD or qcow2 files) read as one flat device, the top one
// writable.
//
// A layer is identified by its path and, where its format has one, by an id, which a child must name. Lock:
// the top layer of a disk open for writing is locked exclusively, everything else shared, for as long as the
// Disk lives. Thread-safe: reads run concurrently, also with writes, flushes and the long part of a merge;
// writes, flush and freeze take turns.
//
// Writes since the last flush may be lost by a crash, each sector on its own, but never show anything but the
// old or the new content. After a failed flush the Disk only returns errors; open it again.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/guid.h"
#include "common/os/file.h"
#include "common/vdisk/block_device.h"

namespace roamstead::vdisk {

enum class Access { read, write };
// foreign: recognised, and read by others (coordinator/foreign); never a layer of a chain here.
enum class Format { raw, vhdx, vhd, qcow2, foreign };
enum class LayerKind { fixed, dynamic, differencing };

// "raw", "vhdx", "vhd", "qcow2" (and "foreign"), and back.
std::string_view to_string(Format format);
Result<Format> parse_format(std::string_view name);

struct LayerInfo {
  std::string path;
  Format format = Format::raw;
  LayerKind kind = LayerKind::fixed;
  std::uint64_t virtual_bytes = 0;
  std::uint32_t block_bytes = 0;  // 0 for raw
  Guid id;         // renewed when the file is written to (VHDX: DataWriteGuid); zero: the file has none
  Guid parent_id;  // what the child's file names; zero without a parent or an id
  std::string parent_path;     // as resolved
  std::string foreign_format;  // what qemu calls it; empty unless the format is foreign
};

// What the file at `path` says of itself, without its chain and without locks. `parent_path` is the first
// place its locator leads to where a file is, or else the first place.
Result<LayerInfo> inspect(os::FileSystem& files, const std::string& path);

// Paths of the disks in `directory` (by extension) that name this layer as their parent: by its id, or by its
// path where their format has no ids.
Result<std::vector<std::string>> find_children(os::FileSystem& files, const std::string& directory,
                                               const LayerInfo& parent);

// For reading disks that are not as they should be.
struct OpenOptions {
  bool ignore_checksum = false;  // VHD: of footers and headers
  std::string parent;            // of the top layer, wherever its file says it is; not empty
  // A parent that is missing or changed is an error only where something is read of it.
  bool missing_parent = false;
};

class Disk : public BlockDevice {
 public:
  // Opens the whole chain. A missing or changed parent is an error that names child and parent. Opening for
  // writing also finishes a merge that a crash interrupted.
  static Result<std::unique_ptr<Disk>> open(os::FileSystem& files, const std::string& path, Access access,
                                            const OpenOptions& options = {});

  // Layers from the top (0) down.
  virtual std::vector<LayerInfo> layers() const = 0;
  // The bytes that layer `index` itself holds (sector-exact), whether or not they differ from what is below.
  virtual Result<RangeSet> extents(std::size_t index) const = 0;

  // Puts a new, empty child on top of the chain in use and goes on writing there. The path that the disk was
  // opened by stays the path of the top; what was the top gets the name in `frozen_path`. Everything written
  // before is flushed.
  struct Frozen {
    std::string frozen_path;  // what was the top, now never written again
    Guid frozen_id;
    std::string active_path;  // the new top
  };
  virtual Result<Frozen> freeze() = 0;

  // Merges frozen layer `index` (not the top) with the frozen layer beneath it, whichever way is cheaper; the
  // chain then has one layer less, and what remains carries the id and the path of layer `index`. Crash-safe
  // at every step. Refuses when either has other children (ErrorCode::conflict; VHDX files in the directories
  // of the chain's layers are looked at), when the layer below is not a differencing one (a golden image is
  // never written), and while another program reads one of the two (ErrorCode::busy). Reads and writes of
  // this disk go on meanwhile.
  virtual Result<void> merge(std::size_t index) = 0;
};

struct CreateOptions {
  // A power of two. VHDX: 1 to 256 MiB; VHD: 512 KiB to 256 MiB; qcow2 (clusters): 512 bytes to 2 MiB. 0: 2
  // MiB, qcow2 64 KiB.
  std::uint32_t block_bytes = 0;
  LayerKind kind = LayerKind::dynamic;  // or fixed: all space is taken at once
  // VHDX: 512 or 4096 each; what the disk tells its guest.
  std::uint32_t logical_sector_bytes = 512;
  std::uint32_t physical_sector_bytes = 4096;
  Format format = Format::vhdx;  // or VHD or qcow2, which have sectors of 512 bytes
};
// A new, empty disk. Refuses to replace a file.
Result<void> create_disk(os::FileSystem& files, const std::string& path, std::uint64_t virtual_bytes,
                         const CreateOptions& options = {});
// A new, empty differencing child of `parent` in the parent's format. The parent's id is recorded where there
// is one; the parent is not changed. A child named .qcow2 is a qcow2 whatever its parent is, also raw.
// ErrorCode::busy while the parent is open for writing.
Result<void> create_child(os::FileSystem& files, const std::string& parent, const std::string& child);

}  // namespace roamstead::vdisk
