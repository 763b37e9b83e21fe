// The agent's link to its coordinator: one TLS connection shared by all threads that call, made when first
// needed and made again when it is lost. Every call is safe to repeat (docs/protocol.md says why), and is
// repeated on a new connection until its timeout; then it ends with ErrorCode::unavailable or timeout. A
// refused certificate ends it at once.
//
// Thread-safe. The destructor ends calls that still wait with ErrorCode::cancelled.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "common/os/file.h"
#include "common/wire/coordinator_link.h"
#include "common/wire/enrollment.h"
#include "common/wire/first_boot.h"
#include "common/wire/snapshot_link.h"

namespace roamstead::wire {

struct TlsLinkOptions {
  std::string address;          // "host:port" or "[v6]:port"
  std::string certificate_pem;  // of this desktop
  std::string key_pem;
  std::string ca_pem;
  std::string software = "roamstead-agent";  // for the coordinator's log
  std::chrono::milliseconds call_timeout{30'000};
  std::chrono::milliseconds commit_timeout{300'000};  // without any progress
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds first_backoff{50};  // doubles with every failed attempt
  std::chrono::milliseconds last_backoff{5'000};
  // The coordinator says what this desktop's agent is to be set to: at every connection, and when an
  // administrator changes it. On a thread of the link that must not be kept; may call no method of the link.
  // Bounded (settings::check_sent_size), and otherwise as it came. Empty: nobody listens.
  std::function<void(const settings::SentSettings&)> on_settings;
};

class TlsLink final : public CoordinatorLink, public SnapshotLink {
 public:
  // Does not connect yet. ErrorCode::invalid_argument for a key, certificate or address that cannot be used.
  static Result<std::unique_ptr<TlsLink>> create(TlsLinkOptions options);
  ~TlsLink() override;

  // Makes the connection, if there is none: the first call need not wait for it then.
  Result<void> connect();
  Result<OpenReply> open(const OpenRequest& request) override;
  Result<DirectoryPart> list(const Guid& session_secret, const profile::ProfilePath& path,
                             const std::string& after) override;
  Result<Bytes> read(const Guid& session_secret, const profile::ProfilePath& path, const std::string& stream,
                     std::uint64_t offset, std::size_t length) override;
  Result<std::vector<Fetched>> fetch(const Guid& session_secret,
                                     const std::vector<FetchItem>& items) override;
  Result<profile::KeyStates> list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                       const profile::KeyPath& key, profile::KeyScope scope,
                                       const std::string& cursor) override;
  Result<Bytes> read_value(const Guid& session_secret, const profile::ProfilePath& hive,
                           const profile::KeyPath& key, const std::string& value, std::uint64_t offset,
                           std::size_t length) override;
  Result<CommitReply> commit(const Guid& session_secret, const profile::Batch& batch,
                             profile::ContentSource& content) override;
  Result<void> renew(const Guid& session_secret) override;
  Result<void> tell_use(const Guid& session_secret, SessionUse use) override;
  Result<void> close(const Guid& session_secret) override;
  Result<void> hand_over(const Guid& session_secret) override;
  Result<void> learned(const Guid& session_secret, const std::vector<WorkingItem>& items) override;
  Result<SnapshotOffer> snapshot_offer(const Guid& session_secret) override;
  Result<FrozenReply> quiet(const QuietRequest& request, std::chrono::milliseconds within) override;
  Result<SnapshotState> held(const HeldRequest& request, std::chrono::milliseconds within) override;
  // Of this desktop, whoever works on it.
  Result<void> report_first_boot(const FirstBootReport& report);
  void set_push_listener(std::function<void(const Push&)> listener) override;
  std::uint64_t bytes_sent() const override;
  std::uint64_t bytes_received() const override;

  // A certificate for a new key made here; the present one stays good. For the caller to save
  // (enrollment.h) and then to use.
  Result<DesktopIdentity> renew_certificate();
  // From the next connection on; the present one stays.
  Result<void> use_identity(const DesktopIdentity& identity);

 private:
  class Impl;
  explicit TlsLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What `roamstead desktop enroll` wrote into a directory (desktop.json, cert.pem, key.pem, ca.pem), or what a
// renewal put in its place.
Result<TlsLinkOptions> load_desktop_identity(os::FileSystem& files, const std::string& directory);

// Renews the certificate over the link when little of its life is left, saves it in the identity's directory
// and uses it from then on; whether it did. An agent calls this when it connects, and at least once a week.
Result<bool> renew_identity_if_due(os::FileSystem& files, const std::string& directory, TlsLink& link);

}  // namespace roamstead::wire
