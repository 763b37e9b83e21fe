// Puts objects into packs, each once, and gets them back; makes batches durable together (group commit).
//
// An object is appended at once and readable by its writer, but exists for everybody only when a flush() that
// came after it has returned. Order of a flush: packs synced, directory synced, no newer epoch claimed,
// catalog updated. One caller does it for all that wait. When the storage fails a sync, what is there is
// unknown: the store then refuses to write until the repository is opened again. Thread-safe.
#pragma once

#include <array>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "common/base/fault.h"
#include "coordinator/repository/catalog.h"
#include "coordinator/repository/keystore.h"
#include "coordinator/repository/pack_store.h"

namespace roamstead::repository {

using SharedBytes = std::shared_ptr<const Bytes>;  // shared between the cache and readers

class ObjectStore {
 public:
  struct Limits {
    std::uint64_t pack_bytes = 512u << 20;
    std::size_t cache_bytes = 48u << 20;
  };

  // All must outlive the store. `epoch` 0: reading only.
  ObjectStore(PackStore& packs, Keystore& keys, Catalog& catalog, std::uint64_t epoch, Faults faults,
              Limits limits);

  // Stores the object unless it is there. `profile` zero exactly for chunks. Adds what it took on storage to
  // `new_bytes`.
  Result<ObjectId> put(ObjectType type, const ProfileId& profile, ByteView content, std::uint64_t& new_bytes);

  // The content. ErrorCode::corrupt naming pack and offset when damaged, not_found when no pack has it.
  Result<SharedBytes> get(ObjectType type, const ProfileId& profile, const ObjectId& id) const;

  // Appends the commit record, and returns when it and everything put before are durable and in the catalog.
  Result<void> commit(CommitRecord record);

  // The content of the record at `location`, without the cache; id checked by computing it anew.
  Result<Bytes> read_verified(const Location& location) const;

  std::uint64_t epoch() const { return epoch_; }

 private:
  struct Open {  // the pack being written
    PackNumber pack;
    std::shared_ptr<os::File> file;  // shared with the pack store's readers
    Guid mark;
    std::uint64_t end = 0;
    bool name_durable = false;
    bool torn_tail = false;  // a write failed and may have left something beyond the end
  };

  Result<Key> key_for(ObjectType type, const ProfileId& profile) const;
  Result<std::optional<Location>> find(const ObjectId& id) const;
  Result<Bytes> open_record(const Location& location) const;
  Result<Location> append_locked(RecordHeader header, ByteView payload);
  Result<void> roll_locked();
  Result<void> wait_durable(std::unique_lock<std::mutex>& lock, std::uint64_t ticket);
  std::condition_variable& waiting_for(std::uint64_t group) { return flushed_[group % flushed_.size()]; }
  Result<void> flush_group(std::unique_lock<std::mutex>& lock);
  SharedBytes cached(const ObjectId& id) const;
  void remember(const ObjectId& id, const SharedBytes& content) const;

  PackStore& packs_;
  Keystore& keys_;
  Catalog& catalog_;
  const std::uint64_t epoch_;
  const Faults faults_;
  const Limits limits_;
  const ObjectIdMaker ids_;

  mutable std::mutex mutex_;  // everything to the next comment
  // Who waits for the group being flushed, and who for the one after it, which is gathering: there are never
  // more than these two, and each is woken when it can go on.
  std::array<std::condition_variable, 2> flushed_;
  std::uint64_t gathering_ = 0;  // the group that what is appended now belongs to
  std::optional<Open> open_;
  std::uint32_t last_number_ = 0;
  CatalogUpdate pending_;  // appended, not yet in the catalog
  std::unordered_map<ObjectId, Location, ObjectIdHash>
      pending_index_;           // the same, and those being flushed now
  std::uint64_t appended_ = 0;  // commits appended, and flushed so far
  std::uint64_t durable_ = 0;
  PackNumber durable_pack_;
  std::uint64_t durable_bytes_ = 0;
  bool flushing_ = false;
  std::optional<Error> failed_;

  // Recently used content, the latest first.
  mutable std::mutex cache_mutex_;
  mutable std::list<std::pair<ObjectId, SharedBytes>> recent_;
  mutable std::unordered_map<ObjectId, std::list<std::pair<ObjectId, SharedBytes>>::iterator, ObjectIdHash>
      cache_;
  mutable std::size_t cache_used_ = 0;
};

}  // namespace roamstead::repository
