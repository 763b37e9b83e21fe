// One simulated desktop: a profile mounted over an NTFS volume, with a session at a coordinator.
#pragma once

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>

#include "agent/core/host_snapshots.h"
#include "agent/core/session.h"
#include "agent/fuse/desktop_settings.h"
#include "agent/fuse/disk_snapshots.h"
#include "agent/fuse/posix_volume.h"
#include "agent/fuse/profile_mount.h"
#include "agent/scan/scan_snapshots.h"
#include "common/wire/tls_link.h"

namespace roamstead::agent {

struct DesktopConfig {
  std::string identity_directory;
  std::string coordinator;      // empty: what the identity says
  bool host_snapshots = false;  // the coordinator makes them; then `disk` does not count
  bool scan = false;            // the folder is scanned; the same
  DiskSnapshots::Options disk;
  std::string volume;       // mount point of the desktop's NTFS volume
  std::string mount_point;  // where programs see the profile
  std::string state_directory;
  FillLevel fill = FillLevel::none;
  std::chrono::seconds prepare_for{600};  // a session opened ahead of the log-in waits so long for it
  SessionConfig session;
  GivenSettings given;  // by the command line: nobody else's counts
};

// Thread-safe once logged in.
class Desktop {
 public:
  // What needs no user: the disk, the volume, the change log, a connection if there is a coordinator.
  static Result<std::unique_ptr<Desktop>> start(const DesktopConfig& config, Faults faults);
  // So that the log-in need not wait for a connection.
  void connect();
  // Opens a session ahead of the log-in and loads what that needs first; does nothing where somebody uses the
  // profile on another desktop, or the coordinator is away.
  Result<void> prepare();
  // Every moment: a session that nobody logged in to in time, or that went to another desktop, is closed;
  // what the coordinator sent is taken over.
  void look_after();
  // Everything up to a profile that programs can use. Once: after a failure the process starts anew.
  Result<void> log_in();
  bool failed() const { return failed_; }
  ~Desktop();

  nlohmann::json describe_log_in() const;
  // Answers a request of the control socket: {"op": …}. Failures are {"error": {"code", "message"}}.
  nlohmann::json answer(const nlohmann::json& request);
  bool logged_in() const { return logged_in_; }
  bool logged_out() const { return logged_out_; }
  // The coordinator asked for it; whoever serves this desktop is to log it out.
  bool close_wanted() const { return close_wanted_; }

 private:
  Desktop() = default;
  SnapshotProvider& snapshots();
  Result<nlohmann::json> perform(const nlohmann::json& request);
  void hear(const wire::Push& push);
  void take_settings();
  nlohmann::json settings();
  Result<void> start_session();
  Result<void> close_prepared();
  bool is_prepared() const { return session_ && session_->use() != wire::SessionUse::in_use; }
  Result<nlohmann::json> status();
  Result<nlohmann::json> describe_preparation();
  Result<nlohmann::json> log_out(const nlohmann::json& request);

  DesktopConfig before_;  // anything was sent
  DesktopConfig config_;
  Faults faults_;
  double log_in_seconds_ = 0;
  std::atomic<bool> close_wanted_{false};          // before the session, which sets it
  std::mutex settings_mutex_;                      // guards the next two; taken after others, for moments
  std::optional<settings::SentSettings> to_take_;  // outlives the link, which notes it here
  nlohmann::json settings_;                        // described
  std::unique_ptr<wire::TlsLink> link_;
  std::unique_ptr<PosixVolume> volume_;
  std::unique_ptr<HostSnapshots> host_snapshots_;  // null: the agent makes them itself
  std::unique_ptr<SnapshotPort> own_snapshots_;    // null: the coordinator does
  std::unique_ptr<changelog::ChangeLog> log_;      // until the log-in
  std::unique_ptr<Session> session_;
  std::unique_ptr<ProfileMount> mount_;  // goes first
  Activity::Clock::time_point prepared_until_;
  std::mutex ready_mutex_;    // held while it gets ready, which uses the session
  std::mutex log_out_mutex_;  // log-in, log-out and preparing; guards the configuration and what follows
  settings::SentSettings sent_;
  Worker preparer_;
  std::atomic<bool> logged_in_{false};
  std::atomic<bool> failed_{false};
  std::atomic<bool> logged_out_{false};
};

}  // namespace roamstead::agent
