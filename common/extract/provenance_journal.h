// The provenance journal as the agent keeps it: a file it appends to, and the same replayed in memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "common/extract/provenance.h"
#include "common/os/file.h"

namespace roamstead::extract {

// Thread-safe. append_* change memory at once and the file with the next flush(); the laws in provenance.h
// say what must be flushed before what. Concurrent flushes share one sync. Where there is no room
// (ErrorCode::full) the records wait for the next flush. After any other failed write or sync every later
// flush fails too: what the file then holds is unknown, so the journal must be opened anew.
class ProvenanceJournal {
 public:
  // Makes the file (and its directory), durably, with the header only. ErrorCode::exists when it is there.
  static Result<std::unique_ptr<ProvenanceJournal>> create(os::FileSystem& files, const std::string& path,
                                                           const JournalHeader& header);
  // The same without waiting: the file is empty until the first flush(), which makes header, records and the
  // file's name durable together. A crash before leaves no file, or one that is torn (ErrorCode::corrupt for
  // open()); so nothing the journal speaks of may count before.
  static Result<std::unique_ptr<ProvenanceJournal>> begin(os::FileSystem& files, const std::string& path,
                                                          const JournalHeader& header);
  // Replays the file and cuts a torn end off, durably.
  static Result<std::unique_ptr<ProvenanceJournal>> open(os::FileSystem& files, const std::string& path);

  // All fail on items that were never published or are withdrawn, and on a journal that would grow beyond
  // kMaxJournalBytes (ErrorCode::full).
  Result<ItemId> append_published(const ItemIdentity& identity, const profile::ProfilePath& base_path,
                                  const profile::Entry& entry);
  Result<void> append_populated(ItemId id);
  Result<void> append_withdrawn(ItemId id);
  Result<void> append_loaded(ItemId id, const std::string& stream, std::uint64_t first_block,
                             const std::vector<BlockTag>& tags);
  Result<void> append_base_limit(ItemId id, const std::string& stream, std::uint64_t limit_bytes);
  Result<void> append_identity(ItemId id, const ItemIdentity& identity);
  Result<void> append_dehydrated(ItemId id);

  // Returns once everything appended before the call is on stable storage.
  Result<void> flush();

  // Calls with the state in memory, under a shared lock: keep it short and do not call back into this object.
  // Pointers into it are not valid afterwards.
  template <class Function>
  auto inspect(Function&& function) const {
    std::shared_lock lock(mutex_);
    used_.store(true, std::memory_order_relaxed);
    while (away_) {
      lock.unlock();
      change();
      lock.lock();
    }
    return function(static_cast<const Provenance&>(provenance_));
  }
  // To be called about every second, by one thread: what nobody has asked for in ten calls leaves the
  // process's working set (common/os/idle_memory.h) until somebody does.
  void put_away_if_unused();

  const JournalHeader& header() const { return provenance_.header(); }  // never changes

 private:
  ProvenanceJournal(std::unique_ptr<os::File> file, Provenance provenance);
  Result<void> append(const Bytes& record);  // mutex_ held exclusively
  std::unique_lock<std::shared_mutex> change() const;

  mutable std::shared_mutex mutex_;  // provenance_, away_, pending_, appended_bytes_
  mutable Provenance provenance_;    // put away and taken out behind const
  mutable bool away_ = false;
  mutable std::atomic<bool> used_{true};
  unsigned unused_calls_ = 0;
  Bytes pending_;
  std::uint64_t appended_bytes_ = 0;

  std::mutex flush_mutex_;  // all below; taken before mutex_
  std::unique_ptr<os::File> file_;
  os::FileSystem* naming_ = nullptr;  // not null: the file's name is not durable yet
  std::uint64_t durable_bytes_ = 0;
  std::optional<Error> failure_;
};

}  // namespace roamstead::extract
