// What the agent knows in memory of the items it published: which directories are populated, which bytes are
// loaded.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "common/base/byte_range.h"
#include "common/extract/provenance.h"
#include "common/extract/record_set.h"

namespace roamstead::agent {

// Of one stream. All ranges begin at block boundaries and end at one or at the base limit.
struct StreamState {
  std::uint64_t base_limit = 0;  // from here on nothing is the base's
  RangeSet loaded;               // below base_limit; what is not here is zero on the volume
  RangeSet in_flight;            // being fetched by some thread
  std::map<std::uint64_t, extract::BlockTag> pending;  // loaded blocks whose tag is not in the journal yet
  bool size_checked = false;  // of a recovered item: the base limit is not beyond the stream's end

  // Nothing from `limit` on is the base's any more.
  void cut_base(std::uint64_t limit) {
    if (limit >= base_limit) return;
    pending.erase(pending.lower_bound(limit / extract::kTagBlockBytes), pending.end());
    loaded.subtract({limit, base_limit - limit});
    base_limit = limit;
  }
  // The whole blocks that `range` touches, as far as they are the base's.
  ByteRange base_blocks(ByteRange range) const {
    const auto block_start = [](std::uint64_t at) {
      return at / extract::kTagBlockBytes * extract::kTagBlockBytes;
    };
    const auto start = block_start(range.offset);
    if (range.empty() || start >= base_limit) return {start, 0};
    const auto last = std::min(range.end() - 1, base_limit - 1);
    return {start, std::min(block_start(last) + extract::kTagBlockBytes, base_limit) - start};
  }
  bool fully_loaded() const { return base_limit == 0 || loaded.contains({0, base_limit}); }
};

struct Item {
  const extract::ItemId id;
  const std::uint64_t record;
  const profile::ProfilePath base_path;
  const bool directory;
  // Published by a process before this one: blocks without a tag may hold content already.
  const bool recovered;
  std::atomic<bool> doubted{false};  // it may be gone, and its record another file's

  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::uint16_t sequence = 0;                // of its record, where the volume tells; 0: not known
  std::uint64_t created_100ns = 0;           // with the record number, what the item is known by
  std::uint64_t previous_created_100ns = 0;  // of a recovered item whose creation time was to change; 0: none
  bool identity_checked = false;             // of a recovered item: the record is still this item's
  bool populated = false;
  bool populating = false;
  bool written = false;      // by a program: its times are no longer the base's
  bool placeholder = false;  // Windows asks for its bytes: common/extract/provenance.h, encode_dehydrated
  unsigned filling = 0;      // asked of Windows by the background fill, not by programs
  bool converting = false;   // it is being made one
  // Of a placeholder that may be dehydrated, until Windows says whether it was: the tags it had.
  std::map<std::uint64_t, extract::BlockTag> released;
  bool tags_waiting = false;  // in the list of items with pending tags
  std::map<std::string, StreamState> streams;

  Item(extract::ItemId item_id, std::uint64_t item_record, profile::ProfilePath path, bool is_directory,
       bool is_recovered)
      : id(item_id),
        record(item_record),
        base_path(std::move(path)),
        directory(is_directory),
        recovered(is_recovered) {}
};

// Most items of a large profile are never touched. For those that rest the table keeps one bit: what is known
// of them the journal knows, and of that they are made again when somebody asks. Shared pointers, because an
// item may be deleted while other threads still load it. Thread-safe.
class ItemTable {
 public:
  // Makes the item of a record that rests, of what the journal says now; null when it knows no such item. May
  // not call back into the table.
  using Wake = std::function<std::shared_ptr<Item>(std::uint64_t record, bool recovered)>;
  explicit ItemTable(Wake wake) : wake_(std::move(wake)) {}

  std::shared_ptr<Item> find(std::uint64_t record) const;
  void add(std::shared_ptr<Item> item);
  // Like add() of an item about which the journal says all there is to know.
  void add_resting(std::uint64_t record, bool recovered);
  void remove(std::uint64_t record);
  // Lets an item rest that nobody else holds, when the journal says all there is to know of it.
  void rest(std::shared_ptr<Item> item);
  std::size_t awake() const;

 private:
  extract::RecordSet& resting(bool recovered) const { return recovered ? recovered_ : published_; }

  const Wake wake_;
  mutable std::shared_mutex mutex_;
  mutable std::unordered_map<std::uint64_t, std::shared_ptr<Item>> items_;
  mutable extract::RecordSet published_, recovered_;  // that rest: of this process, and of those before it
};

}  // namespace roamstead::agent
