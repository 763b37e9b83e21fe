// All attributes of a file, wherever they lie: in its base record, or spread over extension records by an
// attribute list.
#pragma once

#include <functional>
#include <map>

#include "common/ntfs/stream.h"

namespace roamstead::ntfs {

// An MFT record read, checked and parsed. Views point into `bytes`.
struct LoadedRecord {
  Bytes bytes;
  RecordHeader header;
  std::vector<AttributeView> attributes;
};

// Gives the record with its fixups applied; ErrorCode::corrupt names number and place.
using RecordLoader = std::function<Result<LoadedRecord>(std::uint64_t number)>;

class AttributeWalker {
 public:
  AttributeWalker(const vdisk::BlockDevice& device, const Geometry& geometry, RecordLoader load)
      : device_(device), geometry_(geometry), load_(std::move(load)) {}

  // Calls for each attribute; extents of one attribute come in the order of their VCNs. `base` are the
  // attributes of the base record `reference`. With an attribute list only what it lists counts, each listed
  // attribute must be found, once, in a record that is an extension of this base. `only` (when not 0) leaves
  // out all other types: an extension record is loaded only when an attribute in it is called for.
  Result<void> walk(FileReference reference, const std::vector<AttributeView>& base, std::uint32_t only,
                    const std::function<Result<void>(const AttributeView&)>& visit,
                    std::vector<std::uint64_t>* extension_records = nullptr) const;

 private:
  struct Entry {
    std::uint32_t type = 0;
    std::uint16_t id = 0;
    ByteView name;
    std::uint64_t lowest_vcn = 0;
    FileReference holder;
  };
  static Result<std::vector<Entry>> parse_list(ByteView list);
  Result<LoadedRecord> load_extension(FileReference base, FileReference extension) const;
  Result<Bytes> read_list(const AttributeView& list) const;

  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  RecordLoader load_;
};

}  // namespace roamstead::ntfs
