// What a profile knows of one file or directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::profile {

enum class EntryKind : std::uint8_t {
  file = 0,
  directory = 1,
  junction = 2,  // link_target relative to the profile's root
  symlink = 3,   // the same
  opaque = 4,    // a foreign reparse point, EFS or WOF file: its metadata only, never its bytes
  registry = 5,  // a hive: no bytes but keys (registry.h)
};
inline constexpr EntryKind kLastEntryKind = EntryKind::registry;

// Windows file attributes that roam (FILE_ATTRIBUTE_…).
inline constexpr std::uint32_t kAttributeReadOnly = 0x1;
inline constexpr std::uint32_t kAttributeHidden = 0x2;
inline constexpr std::uint32_t kAttributeSystem = 0x4;
inline constexpr std::uint32_t kAttributeArchive = 0x20;
inline constexpr std::uint32_t kAttributeNotIndexed = 0x2000;
inline constexpr std::uint32_t kRoamingAttributes =
    kAttributeReadOnly | kAttributeHidden | kAttributeSystem | kAttributeArchive | kAttributeNotIndexed;

struct Metadata {
  std::uint32_t attributes = 0;     // kRoamingAttributes only
  std::uint64_t created_100ns = 0;  // since 1601-01-01 UTC, as NTFS counts
  std::uint64_t written_100ns = 0;
  Bytes security;  // self-relative security descriptor; empty: inherited

  bool operator==(const Metadata&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(attributes, created_100ns, written_100ns, security);
  }
};

struct Stream {
  std::string name;  // alternate stream; never ""
  std::uint64_t size_bytes = 0;

  bool operator==(const Stream&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, size_bytes);
  }
};

struct Entry {
  EntryKind kind = EntryKind::file;
  Metadata metadata;
  std::uint64_t size_bytes = 0;   // of the unnamed stream; 0 for directories
  std::vector<Stream> streams;    // alternate streams by name, in compare_names order
  std::string link_target;        // junction and symlink
  std::uint64_t link_group = 0;   // hard links of one file within the profile share it; 0: none
  std::uint32_t reparse_tag = 0;  // opaque

  bool is_directory() const { return kind == EntryKind::directory; }
  bool operator==(const Entry&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, metadata, size_bytes, streams, link_target, link_group, reparse_tag);
  }
};

struct NamedEntry {
  std::string name;
  Entry entry;

  bool operator==(const NamedEntry&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, entry);
  }
};

}  // namespace roamstead::profile
