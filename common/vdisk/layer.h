// One file of a disk's chain, as the chain reads and writes it.
//
// Lookups and reads may run from any thread at any time; what changes a layer (write, flush, begin_…) is
// called by one thread at a time.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

class Layer {
 public:
  // Where the bytes of a piece of the disk are.
  struct Piece {
    enum class Source { here, zero, below } source = Source::below;
    std::uint64_t file_offset = 0;  // for `here`
    std::uint64_t length = 0;       // at least 1, at most what was asked for
  };

  virtual ~Layer() = default;

  virtual LayerInfo info() const = 0;
  virtual std::uint64_t virtual_bytes() const = 0;
  // The sector size that the disk shows to its guest.
  virtual std::uint32_t sector_bytes() const { return 512; }
  // The first piece of [offset, offset + length); the range lies within virtual_bytes and is not empty.
  virtual Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const = 0;
  virtual Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const = 0;
  // The bytes this layer itself holds.
  virtual Result<RangeSet> extents() const = 0;

  // Bytes a write's offset and length must be multiples of; the disk's end may cut the last unit off.
  virtual std::uint32_t write_unit() const = 0;
  // What the layer holds (`here`) can be written again in pieces of any size.
  virtual bool rewrites_any_bytes() const { return false; }
  // May be lost by a crash until the next flush, but never shows anything but the old or the new sectors.
  virtual Result<void> write(std::uint64_t offset, ByteView data) = 0;
  virtual Result<void> flush() = 0;
};

// What a child's file says of its parent.
struct ParentReference {
  std::vector<std::string> candidates;  // paths, in the order in which they are tried
  std::vector<Guid> ids;                // the parent has one of them; empty: the format knows it by path only
  std::optional<Format> format;         // what the parent is; nothing: whatever is found there
  std::uint64_t at = 0;                 // where the child's file says so, in bytes from its start
  std::optional<std::int64_t> modified;  // its modification time, seconds since 1970, where it was noted

  bool names(const Guid& id) const { return std::find(ids.begin(), ids.end(), id) != ids.end(); }
};

// What is read of a file without reading its tables.
struct LayerDescription {
  LayerInfo info;
  std::optional<ParentReference> parent;  // nothing: no differencing layer
};

// What a layer's file records of its parent and of a merge under way (merge.cpp, and docs/format-*-use.md for
// where each format has it). A format leaves empty, and ignores, what it has no place for.
struct Lineage {
  Guid parent_id;
  Guid parent_id2;          // accepted too while a merge is under way
  std::string parent_path;  // '/' between names; relative to the child's directory, or absolute
  std::optional<Format> parent_format;
  Guid merging_child;       // on the lower of two layers: the upper's id
  std::string merged_path;  // on the upper: the file merged into it, to be removed; relative
  Guid merged_id;           // and its id
};

// A layer in a file format that knows parents: it can be frozen, have children and be merged.
//
// Ids: a file's id is renewed with the first write after an open, so that children of the old content notice,
// and whoever keeps something about the content. A file without has the id zero (raw; qcow2 that others have
// written to). qcow2's parents are known by path all the same, and it is merged upwards only.
class ImageLayer : public Layer {
 public:
  // Nothing: no differencing layer.
  virtual std::optional<ParentReference> parent() const = 0;
  virtual Lineage lineage() const = 0;
  // Replaces it durably: after a crash the file has the old one or the new. Of a layer open for writing.
  virtual Result<void> set_lineage(const Lineage& lineage) = 0;
  // Gives the layer the id by which the layer above knows it; durable, old or new.
  virtual Result<void> set_id(const Guid& id) = 0;

  // Opens a layer that was opened for reading for writing too. With `keep_id` its id stays, because the
  // content as seen through the chain does not change.
  virtual Result<void> make_writable(os::FileSystem& files, bool keep_id) = 0;
  virtual void make_read_only() = 0;
  // Done by the first write too: renews the id unless it is kept, and removes what a crash left unused.
  virtual Result<void> begin_writing() = 0;
  // Flushes, and leaves the file as one that was closed properly. Writing may go on afterwards.
  virtual Result<void> end_writing() { return flush(); }
  // What the file is called now, and its parent.
  virtual void renamed(const std::string& path) = 0;
  virtual void reparented(const std::string& parent_path) = 0;

  // Makes `path` (which must not exist) a new, empty child of this layer in the same format and flushes it;
  // the name is not yet durable. `parent_path`: where the child will find this layer, relative to its
  // directory, with '/'. The child is open for writing, its id known to nobody.
  virtual Result<std::unique_ptr<ImageLayer>> create_child(os::FileSystem& files, const std::string& path,
                                                           const std::string& parent_path) const = 0;
  // Makes `path` (which must not exist) a file like this one, with its id and lineage but no content of its
  // own, open for writing; neither flushed nor its name durable.
  virtual Result<std::unique_ptr<ImageLayer>> create_twin(os::FileSystem& files,
                                                          const std::string& path) const = 0;
};

// What the file is, by its name where that says so (.vhdx, .avhdx, .vhd, .avhd, .qcow2, .raw, .img), else by
// its content.
Result<Format> detect_format(const os::File& file, const std::string& path);

Result<std::unique_ptr<Layer>> open_raw_layer(os::FileSystem& files, const std::string& path, Access access);

}  // namespace roamstead::vdisk
