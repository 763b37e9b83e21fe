// The way to the coordinator as a session's rules leave it: what they exclude, or keep local, is not there,
// neither files nor keys nor values. So nothing above need know of it: such a folder begins empty on every
// desktop, instead of showing a state that was saved before the rule, and that changes never get into.
#pragma once

#include "common/profile/rules.h"
#include "common/wire/coordinator_link.h"

namespace roamstead::agent {

// Thread-safe as the link is; both must outlive it.
class RuledLink final : public wire::CoordinatorLink {
 public:
  RuledLink(wire::CoordinatorLink& link, const profile::Rules& rules) : link_(link), rules_(rules) {}

  Result<wire::OpenReply> open(const wire::OpenRequest& request) override { return link_.open(request); }
  Result<wire::DirectoryPart> list(const Guid& session_secret, const profile::ProfilePath& path,
                                   const std::string& after) override;
  Result<Bytes> read(const Guid& session_secret, const profile::ProfilePath& path, const std::string& stream,
                     std::uint64_t offset, std::size_t length) override {
    return link_.read(session_secret, path, stream, offset, length);
  }
  Result<std::vector<wire::Fetched>> fetch(const Guid& session_secret,
                                           const std::vector<wire::FetchItem>& items) override;
  Result<profile::KeyStates> list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                       const profile::KeyPath& key, profile::KeyScope scope,
                                       const std::string& cursor) override;
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
  bool is_hidden(const profile::ProfilePath& path, const profile::Entry& entry) const;
  void take_out_hidden(const profile::ProfilePath& path, wire::DirectoryPart& part) const;
  bool is_hidden(const profile::ProfilePath& path, bool directory) const;

  wire::CoordinatorLink& link_;
  const profile::Rules& rules_;
};

}  // namespace roamstead::agent
