// Which bytes of a stream must travel: those that the tree before the batch does not have at that place.
#pragma once

#include <vector>

#include "common/base/byte_range.h"
#include "common/extract/provenance.h"
#include "common/ntfs/volume.h"

namespace roamstead::extract {

// A stream on a volume, with what the journal says of it.
struct StreamSide {
  const ntfs::Volume* volume = nullptr;
  const ntfs::StreamInfo* stream = nullptr;
  const ItemState::StreamState* state = nullptr;  // null: not of the base; all of it is content
  bool dehydrated = false;                        // blocks of zeros are not loaded, whatever their tags say
};

// What batches made of a stream: below the base limit the base's bytes and from there on zeros, but for the
// blocks that have a tag. These are content, and the tag is that of the whole block, up to the stream's end.
struct SavedStream : ItemState::StreamState {
  bool edge_is_base = false;  // of the block in which the base ends, though it has a tag, the base's part
};

// The stream of the same name that the record's base has in the tree before the batch.
struct StreamBefore {
  enum class Kind {
    none,       // no such stream
    published,  // what the base version has; known by its tags at most
    volume,     // as `side` holds it: content where it is content, the base's bytes where it is not
    saved,      // as batches left it, of which nobody has the bytes any more: known by the tags in `saved`
    unknown,    // something is there, nobody can say what
  };
  Kind kind = Kind::none;
  std::uint64_t size_bytes = 0;
  StreamSide side;                     // volume
  const SavedStream* saved = nullptr;  // saved; null: all of it is the base's
  ItemPointer latest;                  // what base_tags may point into
  const ItemState::StreamState* base_tags =
      nullptr;            // published, volume, saved: tags of the base's bytes, latest known
  bool same_file = true;  // false: another file's content, used because it may be alike
};

struct StreamWrites {
  std::vector<ByteRange> writes;  // ascending, merged, within the stream's size
  // First byte of the stream that was never loaded and that the base (none) cannot supply.
  std::optional<std::uint64_t> missing_at;
};

// Ranges of `now` that may differ from `before`; everything outside is known to be equal without reading it.
// `changed` are the bytes of the volume that differ between the two snapshots; null: not known.
RangeSet ranges_to_examine(const StreamSide& now, const StreamBefore& before, const RangeSet* changed);

// Reads `examine` and decides block by block.
Result<StreamWrites> find_writes(const StreamSide& now, const StreamBefore& before, const RangeSet& examine);

}  // namespace roamstead::extract
