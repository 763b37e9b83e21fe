// What the session's tree at the coordinator holds of a file on the volume, once the batches cut so far are
// applied: the mirror that a scan is compared with.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/archive.h"
#include "common/base/guid.h"
#include "common/extract/item_state.h"
#include "common/ntfs/volume.h"

namespace roamstead::agent {

struct SavedName {
  std::uint64_t parent = 0;
  std::uint16_t parent_sequence = 0;
  std::string name;

  bool operator==(const SavedName&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(parent, parent_sequence, name);
  }
};

struct SavedStream {
  std::string name;  // "": the unnamed one
  std::uint64_t size_bytes = 0;
  bool stored = true;
  // False: all of it is the base's. Otherwise as extract::SavedStream.
  bool sent = false;
  bool edge_is_base = false;
  std::uint64_t base_limit = 0;
  std::vector<std::uint64_t> blocks, tags;  // as many of each, blocks ascending

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, size_bytes, stored, sent, edge_is_base, base_limit, blocks, tags);
  }
};

struct SavedItem {
  std::uint64_t record = 0;
  std::uint16_t sequence = 0;  // the volume's, or, where it tells none, one by which we tell reuses apart
  bool directory = false;
  std::uint32_t attributes = 0;
  std::uint64_t created_100ns = 0, written_100ns = 0;
  std::uint32_t security = 0;  // in the table of descriptors; 0: none
  bool reparse = false;
  std::uint32_t reparse_tag = 0;
  Bytes reparse_data;
  std::vector<SavedName> names;
  std::vector<SavedStream> streams;

  ntfs::FileRecord to_record() const;
  static SavedItem from_record(const ntfs::FileRecord& file);

  template <class Archive>
  void serialize(Archive& archive) {
    archive(record, sequence, directory, attributes, created_100ns, written_100ns, security, reparse,
            reparse_tag, reparse_data, names, streams);
  }
};

// A stream as a volume of scanned items shows it: its runs say only whether anything of it is stored.
ntfs::StreamInfo scanned_stream(std::uint64_t record, const std::string& name, std::uint64_t size_bytes,
                                bool stored);

}  // namespace roamstead::agent
