// The qcow2 format, versions 2 and 3, as QEMU publishes it (docs/interop/qcow2.txt): numbers are big-endian,
// everything lies in clusters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/vdisk/layer.h"

namespace roamstead::vdisk::qcow2 {

inline constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr std::uint32_t kMinClusterBytes = 512;
inline constexpr std::uint32_t kMaxClusterBytes = 2u << 20;
inline constexpr std::uint32_t kUsualClusterBytes = 64u << 10;
// QEMU takes no larger ones either.
inline constexpr std::uint64_t kMaxL1Bytes = 32u << 20;
inline constexpr std::uint64_t kMaxRefcountTableBytes = 8u << 20;
inline constexpr std::uint64_t kMaxBackingNameBytes = 1023;
// What a file system writes whole or not at all: what has to change at once lies in the header's.
inline constexpr std::size_t kSectorBytes = 512;

// Entries of the L1 and L2 tables.
inline constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;  // the refcount is exactly 1
inline constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kZero = 1;  // since version 3
inline constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;
inline constexpr std::uint64_t kL1Reserved = 0x7f00'0000'0000'01ff;
inline constexpr std::uint64_t kL2Reserved = 0x3f00'0000'0000'01fe;

// Incompatible features.
inline constexpr std::uint64_t kDirty = 1;  // refcounts may be wrong
inline constexpr std::uint64_t kCorrupt = 2;
inline constexpr std::uint64_t kExternalData = 4;
inline constexpr std::uint64_t kCompressionType = 8;  // says how compressed clusters are to be read
inline constexpr std::uint64_t kExtendedL2 = 16;

// Header extensions.
inline constexpr std::uint32_t kBackingFormat = 0xe2792aca;
inline constexpr std::uint32_t kFeatureNames = 0x6803f857;
inline constexpr std::uint32_t kMergedPath = 0x726f616d;  // our own: Lineage::merged_path
inline constexpr std::uint32_t kLayerId = 0x726f6964;     // our own: 16 bytes, LayerInfo::id

// Autoclear feature of our own: the id in kLayerId is that of the content. Whoever writes to the file and
// does not know a bit clears it, so a file that others have written to has no id.
inline constexpr std::uint64_t kIdIsValid = std::uint64_t{1} << 63;

struct Extension {
  std::uint32_t type = 0;
  Bytes data;
};

struct Header {
  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 16;
  std::uint64_t virtual_bytes = 0;
  std::uint32_t l1_entries = 0;
  std::uint64_t l1_offset = 0;
  std::uint64_t refcount_table_offset = 0;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshots = 0;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint32_t refcount_order = 4;  // an entry has 1 << order bits

  std::string backing_name;  // empty: no parent
  std::vector<Extension> extensions;
  Bytes fields;                      // as they are in the file, with those that we do not know
  ByteRange backing_place;           // of the name
  std::uint64_t extensions_end = 0;  // beyond the one that ends the list

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  std::uint64_t l2_entries() const { return cluster_bytes() / 8; }
  std::uint64_t l2_covers() const { return cluster_bytes() * l2_entries(); }  // bytes of the disk
  std::uint64_t refcounts_per_block() const { return cluster_bytes() * 8 >> refcount_order; }
  const Extension* find(std::uint32_t type) const;
  std::string text(std::uint32_t type) const;                  // of an extension; empty when it is not there
  void set_text(std::uint32_t type, const std::string& text);  // empty: removes it
  Guid id() const;              // zero: none, or one that is not valid any more
  void set_id(const Guid& id);  // zero: removes it; the autoclear features are then only this one

  // The fixed part with what the members say.
  Bytes encode_fields() const;
  // Fixed part, extensions and the end of their list.
  Bytes encode_extensions() const;
};

Result<bool> has_signature(const os::File& file);

// Checks everything that says where something lies, and refuses by name what we cannot read: encryption,
// external data files, extended L2 entries, parents that are no files.
Result<Header> read_header(const os::File& file);

// L1 entries that a disk of this size takes.
std::uint64_t l1_entries_for(std::uint64_t virtual_bytes, std::uint32_t cluster_bits);

// "qcow2", "raw", "vhdx", "vpc" (QEMU's name for VHD), and back; nothing for a name we do not know.
std::string_view format_name(Format format);
std::optional<Format> format_of_name(std::string_view name);

// qcow2_lineage.cpp
ParentReference parent_reference(const std::string& child_path, const Header& header);
Result<LayerDescription> describe(const os::File& file, const std::string& path);
LayerInfo to_info(const Header& header, const std::string& path);

}  // namespace roamstead::vdisk::qcow2
