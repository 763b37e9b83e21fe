// A coordinator in memory for tests: one profile, one pinned version, commits collected; it can be away, slow
// or count.
#pragma once

#include <atomic>
#include <map>
#include <mutex>

#include "common/wire/coordinator_link.h"
#include "tests/support/key_model.h"

namespace roamstead::agent::testing {

class MemoryLink final : public wire::CoordinatorLink {
 public:
  struct File {
    profile::Entry entry;
    std::map<std::string, Bytes> streams;
    support::KeyModel keys;  // of an entry of kind registry
  };
  struct Committed {
    profile::Batch batch;
    // "path:stream@offset" of every write, "hive|key|value" of every value that is not inline.
    std::map<std::string, Bytes> content;
  };

  MemoryLink();
  // Parents are made as needed; the metadata is made up, but fixed.
  void add_directory(const std::string& path);
  void add_file(const std::string& path, const std::string& content,
                const std::map<std::string, std::string>& streams = {});

  void add_hive(const std::string& path, support::KeyModel keys);
  void add_link(const std::string& path, profile::EntryKind kind, const std::string& target);

  Result<wire::OpenReply> open(const wire::OpenRequest& request) override;
  Result<wire::DirectoryPart> list(const Guid& secret, const profile::ProfilePath& path,
                                   const std::string& after) override;
  Result<Bytes> read(const Guid& secret, const profile::ProfilePath& path, const std::string& stream,
                     std::uint64_t offset, std::size_t length) override;
  Result<std::vector<wire::Fetched>> fetch(const Guid& secret,
                                           const std::vector<wire::FetchItem>& items) override;
  Result<profile::KeyStates> list_keys(const Guid& secret, const profile::ProfilePath& hive,
                                       const profile::KeyPath& key, profile::KeyScope scope,
                                       const std::string& cursor) override;
  Result<Bytes> read_value(const Guid& secret, const profile::ProfilePath& hive, const profile::KeyPath& key,
                           const std::string& value, std::uint64_t offset, std::size_t length) override;
  Result<wire::CommitReply> commit(const Guid& secret, const profile::Batch& batch,
                                   profile::ContentSource& content) override;
  Result<void> renew(const Guid& secret) override;
  Result<void> tell_use(const Guid& secret, wire::SessionUse use) override;
  Result<void> close(const Guid& secret) override;
  Result<void> hand_over(const Guid& secret) override;
  Result<void> learned(const Guid& secret, const std::vector<wire::WorkingItem>& items) override;
  std::vector<wire::WorkingItem> working_set() const;  // what was learnt last; the next session gets it
  void set_push_listener(std::function<void(const wire::Push&)> listener) override;
  void push(const wire::Push& push);  // as the coordinator does
  std::uint64_t bytes_sent() const override { return 0; }
  std::uint64_t bytes_received() const override { return read_bytes; }

  std::atomic<bool> away{false};
  std::atomic<bool> superseded{false};    // resuming is refused, commits become forks
  std::atomic<bool> lose_replies{false};  // commits are done, but the answer is lost
  std::atomic<std::uint64_t> quota{0};    // batches with more content are refused; 0: none is
  std::atomic<int> delay_ms{0};
  std::atomic<std::uint64_t> reads{0}, read_bytes{0}, lists{0}, closes{0}, hand_overs{0}, renewals{0};
  std::atomic<std::uint64_t> key_lists{0}, keys_listed{0}, value_reads{0};
  std::atomic<std::uint64_t> fetches{0};
  std::uint32_t lease_seconds = 600;
  std::size_t items_per_fetch = 100;
  std::size_t entries_per_part = 1000;
  std::size_t key_bytes_per_part = 256 << 10;
  bool keys_without_data = false;  // as a coordinator does where a key's values are too much for an answer

  std::vector<Committed> commits() const;
  bool is_open() const;
  wire::SessionUse use() const;  // as it was opened, or told since

  std::string rules;  // in canonical form, for sessions that are opened from now on

 private:
  Result<void> enter(const Guid& secret);
  Result<const support::KeyModel*> hive_at(const profile::ProfilePath& path) const;
  profile::Entry& make_parents(const std::string& path);

  std::mutex listener_mutex_;
  std::function<void(const wire::Push&)> listener_;
  mutable std::mutex mutex_;
  std::map<std::string, File> items_;  // by path; "" is the root
  struct NameLess {
    bool operator()(const std::string& a, const std::string& b) const;
  };
  std::map<std::string, std::map<std::string, std::string, NameLess>> children_;  // directory -> name -> path
  std::vector<Committed> commits_;
  bool open_ = false;
  Guid secret_, incarnation_;
  std::map<Guid, std::uint64_t> committed_;  // incarnation -> highest ordinal
  unsigned opened_ = 0;
  wire::SessionUse use_ = wire::SessionUse::in_use;
  std::vector<wire::WorkingItem> working_set_;
};

}  // namespace roamstead::agent::testing
