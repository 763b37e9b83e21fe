// The tree before a batch: what the session holds of a file, as the snapshot before mirrors it or as
// provenance tells.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/extract/profile_tree.h"
#include "common/extract/provenance.h"
#include "common/extract/stream_writes.h"

namespace roamstead::extract {

// What batches made of the streams of files, where no snapshot has their bytes any more.
class SavedStreams {
 public:
  virtual ~SavedStreams() = default;
  // As StreamBefore::saved. The result stays valid until the next call.
  virtual Result<const SavedStream*> find(std::uint64_t record, const std::string& stream) const = 0;
};

// A snapshot of which the session holds everything that was in the profile then.
struct Mirror {
  const ntfs::Volume& volume;
  ProfileTree tree;
  const ProvenanceView* provenance;              // of that snapshot; null in a comparison without journals
  const EarlierProvenance* continued = nullptr;  // the same, where today's journal goes on from it
  const SavedStreams* saved = nullptr;           // instead of the volume's bytes, which nobody has
};

// A file in the tree before. Hives and what belongs to them are none (profile_hives.h).
struct Origin {
  bool exists = false;
  std::vector<Location> names;  // parents by their reference on the volume; at least one when it exists
  std::optional<ntfs::FileRecord>
      record;        // as the mirror has it; none: published since, the tree has what was published
  ItemPointer item;  // mirror: what the journal said then. Otherwise: what it says now
};

// Not thread-safe.
class TreeBefore {
 public:
  // `provenance` and `mirror` may be null; all must outlive this object. `root` is the profile's root on
  // `volume`, `selection` the rules by which that is looked at.
  TreeBefore(const ntfs::Volume& volume, const ntfs::FileReference& root, const Selection& selection,
             const Provenance* provenance, Mirror* mirror);

  // What the journal knows of a file that is on the volume now.
  ItemPointer item_of(const ntfs::FileRecord& file) const;
  // Of a file that is on the volume now.
  Result<Origin> origin_of(const ntfs::FileRecord& file);
  // Of a file in the mirror that is no longer on the volume.
  Origin origin_in_mirror(const ntfs::FileRecord& file);
  // Of an item that the tree has because it was published, wherever its file is now. None where it was left
  // out below a folder that the tree no longer has.
  Origin origin_of_published(const ItemPointer& item);

  // Whether the mirror already accounts for this item: its file was there, or had been deleted by then.
  bool accounted_for(const ItemState& item) const;
  // Items of which accounted_for() may be false, found without looking at all of them; nothing: any.
  std::optional<std::set<ItemId>> maybe_unaccounted() const;
  Mirror* mirror() const { return mirror_; }
  // Whether this item was kept for log-out when the mirror was taken and is so no more: the tree has it as it
  // was published, where it was published.
  bool has_waited(const ItemState& item) const;
  // Of an item that the rules leave out where it was published: it is in the tree and stays there as it is.
  bool is_kept(const ItemState& item) const;

 private:
  struct BaseDirectory {
    ntfs::FileReference reference;
    std::string path;
    bool gone = false;  // from the tree, with what the rules leave out below it
  };
  // Where a directory of the base version is in the tree before.
  BaseDirectory base_directory(const profile::ProfilePath& path);
  std::optional<ntfs::FileRecord> in_mirror(const ItemState& item) const;
  bool was_taken_away(const ItemState& item, Place place) const;

  const ntfs::Volume& volume_;
  ntfs::FileReference root_;
  const Selection& selection_;
  const Provenance* provenance_;
  Mirror* mirror_;
  std::unordered_map<std::string, BaseDirectory> base_directories_;
};

// Published as a hive, or as one of its logs.
bool is_hive_item(const ItemState& item);

// The item that a journal has for this file, by record number and sequence number or creation time; no hives.
ItemPointer find_item(const ProvenanceView* provenance, const ntfs::FileRecord& file);

}  // namespace roamstead::extract
