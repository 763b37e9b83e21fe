// A file on a volume as the profile model's entry.
#pragma once

#include <optional>
#include <string>

#include "common/extract/provenance.h"
#include "common/ntfs/volume.h"
#include "common/profile/entry.h"

namespace roamstead::extract {

inline constexpr std::uint32_t kTagMountPoint = 0xA0000003;
inline constexpr std::uint32_t kTagSymlink = 0xA000000C;
inline constexpr std::uint32_t kTagWof = 0x80000017;

// Why the file's bytes cannot be saved yet (encrypted, compressed by WOF); nullopt: they can.
std::optional<std::string> blocked_reason(const ntfs::FileRecord& file);

// Whether the Cloud Files filter answers for a file that the journal says is the profile's: its reparse point
// is the desktop's business, and the file is what it was. Of files that are nobody's item it is opaque: whose
// bytes these are nobody knows.
bool is_placeholder(const ntfs::FileRecord& file, const ItemState* item);

// Of a placeholder: Windows says that its bytes are not all there. Zeros are no program's then, whatever was
// loaded once.
bool is_dehydrated(const ntfs::FileRecord& file, const ItemState* item);

// `profile_root` is the profile's path on the volume and `path` the file's within the profile: to tell
// whether a link leads back into the profile. `item` (may be null) is what the journal knows of the file.
// Fails where something that the entry must say is damaged.
Result<profile::Entry> read_entry(const ntfs::Volume& volume, const ntfs::FileRecord& file,
                                  const std::string& profile_root, const std::string& path,
                                  const ItemState* item);

// Whether nothing differs but what nobody asked for: a directory's write time moves with every child, and a
// file's archive attribute is set by the file system at every write, so by hydration too. What lies around a
// hive's keys is its file's business.
bool same_entry(const profile::Entry& old_entry, const profile::Entry& new_entry);

// The path inside the profile that a link leads to; nullopt: outside, or not understood.
std::optional<std::string> link_target(std::uint32_t tag, ByteView reparse_data,
                                       const std::string& profile_root, const std::string& path);

// Whether a descriptor is the one that ntfs-3g gives what it makes, instead of an inherited one.
bool is_stand_in(ByteView security_descriptor);

// Whether a self-relative descriptor holds an entry of its own, not inherited from the directory above (also
// when it is damaged: then it must not be mistaken for nothing).
bool has_own_access_entries(ByteView security_descriptor);

}  // namespace roamstead::extract
