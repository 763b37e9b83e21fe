// The live volume as a scan reads it: listings that tell whether something changed, and what an item is.
// Paths are WTF-8, relative to the volume's root, separated by '/'. Links are never followed.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/core/profile_volume.h"
#include "common/profile/entry.h"

namespace roamstead::agent {

// Windows' clock of file times may tick that slowly: a change within it may leave a stamp as it was.
inline constexpr std::uint64_t kTick_100ns = 200'000;

// What changes whenever anything of an item changes, except in a program that puts times back.
struct ItemStamp {
  std::uint64_t size_bytes = 0;  // of the unnamed stream
  std::uint64_t written_100ns = 0;
  std::uint64_t changed_100ns = 0;  // NTFS's change time: of names, attributes, security and streams too
  std::uint32_t links = 1;          // 0: not told

  bool operator==(const ItemStamp&) const = default;
};

struct ScannedItem {
  std::string name;
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;  // 0: not told
  bool directory = false;      // and no link
  ItemStamp stamp;
};

struct ScannedStream {
  std::string name;  // "": the unnamed one
  std::uint64_t size_bytes = 0;
  bool stored = true;  // false: nothing of it lies on the volume, all of it is zero
};

struct ItemDetails {
  ScannedItem item;
  std::uint32_t attributes = 0;
  std::uint64_t created_100ns = 0;
  Bytes security;  // self-relative; empty: the volume keeps none, or only what stands for an inherited one
  std::optional<std::uint32_t> reparse_tag;
  Bytes reparse_data;                  // what follows the tag's 8-byte header
  std::vector<ScannedStream> streams;  // of files the unnamed one too
  std::optional<std::string> blocked;  // why its bytes cannot be read as they are (encrypted …)
};

// Thread-safe. ErrorCode::not_found: not there (any more); ErrorCode::busy: a program has it open and shares
// it with nobody.
class ScanSource {
 public:
  virtual ~ScanSource() = default;
  virtual Result<std::vector<ScannedItem>> list_to_scan(const std::string& path) = 0;
  virtual Result<ScannedItem> look(const std::string& path) = 0;
  virtual Result<ItemDetails> details(const std::string& path) = 0;
  // To read one stream of a file, without keeping programs from it.
  virtual Result<std::unique_ptr<VolumeHandle>> open_to_read(const std::string& path,
                                                             const std::string& stream) = 0;
  // By their records, the folders in which a name or anything of an item may have changed since the last call
  // of this, also those of others' profiles; nothing: everything may have, since nobody looks, some of it was
  // missed, or it is more than is kept. Only a hint: what it leaves out is found when everything is looked
  // at.
  virtual std::optional<std::set<std::uint64_t>> changed_folders() { return std::nullopt; }
};

}  // namespace roamstead::agent
