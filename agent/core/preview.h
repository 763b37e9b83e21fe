// What the pinned version holds, shown to programs before it is on the volume: a log-in must not wait until
// every file beside the one that is wanted has been made, recorded and flushed.
//
// It is never what a program changed: whoever changes something in a directory populates it first, and from
// then on the volume is asked. Lists and content are kept in memory, within bounds; what was shown is told to
// `touched`, which brings it to the volume in a quiet moment, so that it is there when the coordinator is
// not. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "agent/core/activity.h"
#include "agent/core/fetch_cache.h"
#include "common/base/byte_range.h"
#include "common/wire/coordinator_link.h"
#include "common/wire/working_set.h"

namespace roamstead::agent {

// A directory of the version, whole.
class PreviewList {
 public:
  explicit PreviewList(std::vector<profile::NamedEntry> entries);
  const std::vector<profile::NamedEntry>& entries() const { return entries_; }
  // By the exact name; null when it is not there.
  const profile::Entry* find(std::string_view name) const;

 private:
  std::vector<profile::NamedEntry> entries_;  // as the coordinator sends them
  std::vector<std::size_t> by_name_;
};

// Something that was shown to a program, or fetched ahead. Of a file: the part of it.
struct Touched {
  profile::ProfilePath path;
  bool directory = false;
  ByteRange range;
};

class Preview {
 public:
  struct Counters {
    std::atomic<std::uint64_t> fetches{0};
    std::atomic<std::uint64_t> fetched_bytes{0};
  };

  Preview(wire::CoordinatorLink& link, Guid session_secret, std::chrono::milliseconds patience,
          Activity& activity)
      : link_(link), session_secret_(session_secret), patience_(patience), activity_(activity) {}

  // Must be set before, and outlive, every call that shows something; called on the threads of programs.
  void set_touched(std::function<void(const Touched&)> touched) { touched_ = std::move(touched); }

  // For a program. Waits while the coordinator is away, then fails like Loader's calls.
  Result<std::shared_ptr<const PreviewList>> list(const profile::ProfilePath& path);
  // Of a file's unnamed stream, which has `size_bytes`: what there is of the range.
  Result<Bytes> read(const profile::ProfilePath& path, std::uint64_t size_bytes, ByteRange range);

  // Fetches all of them, many at once. Keys are left out; what fails is left to who wants it. Stops between
  // two answers once `stopping`. How many were fetched.
  Result<std::size_t> fetch_ahead(const std::vector<wire::WorkingItem>& items,
                                  const std::atomic<bool>& stopping);

  // What is in memory already, for those who bring it to the volume.
  std::shared_ptr<const PreviewList> kept_list(const profile::ProfilePath& path) {
    return lists_.find(path.text());
  }
  std::optional<Bytes> kept(const profile::ProfilePath& path, ByteRange range);
  void drop_list(const profile::ProfilePath& path) { lists_.remove(path.text()); }

  const Counters& counters() const { return counters_; }

 private:
  using Block = std::shared_ptr<const Bytes>;
  static constexpr std::uint64_t kBlockBytes = wire::kFetchFileBytes;
  static constexpr std::uint64_t kMostContentBytes = 48u << 20;
  static constexpr std::uint64_t kMostListBytes = 32u << 20;  // as they are on the wire, about

  static std::string key(const profile::ProfilePath& path, std::uint64_t block);
  void keep_list(const profile::ProfilePath& path, std::shared_ptr<const PreviewList> list);
  Result<std::shared_ptr<const PreviewList>> fetch_list(const profile::ProfilePath& path,
                                                        wire::DirectoryPart part);
  Result<Block> fetch_block(const profile::ProfilePath& path, std::uint64_t size_bytes, std::uint64_t block);
  void take(const wire::FetchItem& item, wire::Fetched fetched);

  wire::CoordinatorLink& link_;
  const Guid session_secret_;
  const std::chrono::milliseconds patience_;
  Activity& activity_;
  std::function<void(const Touched&)> touched_;
  FetchCache<PreviewList> lists_{kMostListBytes};
  FetchCache<Bytes> blocks_{kMostContentBytes};
  Counters counters_;
};

}  // namespace roamstead::agent
