// The way to the coordinator with a short cut: what was laid on the disk beforehand, of exactly the version
// that the session is pinned to, is not asked for.
#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "agent/core/profile_volume.h"
#include "common/profile/prewarm.h"
#include "common/wire/coordinator_link.h"

namespace roamstead::agent {

// Thread-safe as the link is. Keeps what it answers from in memory.
class PrewarmedLink final : public wire::CoordinatorLink {
 public:
  // Null when there is nothing for that version of the profile, `root` being its root. What is there and of
  // no use any more is removed. Both must outlive it.
  static std::unique_ptr<PrewarmedLink> open(wire::CoordinatorLink& link, ProfileVolume& volume,
                                             const std::string& agent_root, const std::string& profile,
                                             std::uint64_t version, const profile::Entry& root);

  std::uint64_t answered() const { return answered_; }  // requests, or items of one, that were not sent

  Result<wire::OpenReply> open(const wire::OpenRequest& request) override { return link_.open(request); }
  Result<wire::DirectoryPart> list(const Guid& session_secret, const profile::ProfilePath& path,
                                   const std::string& after) override;
  Result<Bytes> read(const Guid& session_secret, const profile::ProfilePath& path, const std::string& stream,
                     std::uint64_t offset, std::size_t length) override;
  Result<std::vector<wire::Fetched>> fetch(const Guid& session_secret,
                                           const std::vector<wire::FetchItem>& items) override;
  Result<profile::KeyStates> list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                       const profile::KeyPath& key, profile::KeyScope scope,
                                       const std::string& cursor) override {
    return link_.list_keys(session_secret, hive, key, scope, cursor);
  }
  Result<Bytes> read_value(const Guid& session_secret, const profile::ProfilePath& hive,
                           const profile::KeyPath& key, const std::string& value, std::uint64_t offset,
                           std::size_t length) override {
    return link_.read_value(session_secret, hive, key, value, offset, length);
  }
  Result<wire::CommitReply> commit(const Guid& session_secret, const profile::Batch& batch,
                                   profile::ContentSource& content) override {
    return link_.commit(session_secret, batch, content);
  }
  Result<void> renew(const Guid& session_secret) override { return link_.renew(session_secret); }
  Result<void> tell_use(const Guid& session_secret, wire::SessionUse use) override {
    return link_.tell_use(session_secret, use);
  }
  Result<void> close(const Guid& session_secret) override { return link_.close(session_secret); }
  Result<void> hand_over(const Guid& session_secret) override { return link_.hand_over(session_secret); }
  Result<void> learned(const Guid& session_secret, const std::vector<wire::WorkingItem>& items) override {
    return link_.learned(session_secret, items);
  }
  void set_push_listener(std::function<void(const wire::Push&)> listener) override {
    link_.set_push_listener(std::move(listener));
  }
  std::uint64_t bytes_sent() const override { return link_.bytes_sent(); }
  std::uint64_t bytes_received() const override { return link_.bytes_received(); }

 private:
  PrewarmedLink(wire::CoordinatorLink& link, profile::Prewarm prewarm);
  // Nothing when it is not there.
  std::optional<wire::DirectoryPart> part_of(const profile::ProfilePath& path,
                                             const std::string& after) const;
  std::optional<wire::Fetched> fetched(const wire::FetchItem& item) const;

  wire::CoordinatorLink& link_;
  const profile::Prewarm prewarm_;
  std::unordered_map<std::string, const profile::Prewarm::Directory*> directories_;  // of prewarm_, by path
  std::unordered_map<std::string, const profile::Prewarm::File*> files_;
  std::atomic<std::uint64_t> answered_{0};
};

}  // namespace roamstead::agent
