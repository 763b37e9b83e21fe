// One user's profile on this desktop: the volume it lies on, the disk's snapshots, the change log and, from
// log-on to log-off, the session.
#pragma once

#include <atomic>
#include <mutex>
#include <nlohmann/json_fwd.hpp>

#include "agent/core/cloud_session.h"
#include "agent/core/command_snapshots.h"
#include "agent/core/host_snapshots.h"
#include "agent/core/session.h"
#include "agent/desktop/agent_settings.h"
#include "agent/scan/scan_snapshots.h"
#include "agent/win/change_watch.h"
#include "agent/win/intercept/profile_interception.h"
#include "agent/win/registry/win_registry_port.h"
#include "agent/win/user_account.h"
#include "agent/win/win_volume.h"
#include "common/wire/tls_link.h"

namespace roamstead::agent {

// Where a desktop that is saved by scanning keeps what was saved, and copies.
std::string scan_directory(const AgentSettings& settings);

// prepare(), log_on() and log_off() one at a time; the rest from any thread.
class WinDesktop {
 public:
  // `link` must outlive this.
  // `on_push`: SessionConfig::on_push.
  static Result<std::unique_ptr<WinDesktop>> open(const AgentSettings& settings, UserAccount user,
                                                  wire::TlsLink& link, Faults faults,
                                                  std::function<void(const wire::Push&)> on_push);
  ~WinDesktop();

  const UserAccount& user() const { return user_; }
  std::string profile_folder() const;  // "C:\Users\alice"
  // What his programs' accesses mean; null while nobody is logged on, and for others' SIDs.
  std::shared_ptr<Interception> interception(const std::string& sid) const;
  // Whether the profile's rules want nothing loaded for a program of his, given by its full path.
  bool never_loads(const std::string& sid, const std::string& program) const;
  bool logged_on() const {
    const auto session = this->session();
    return session && session->use() == wire::SessionUse::in_use;
  }
  // There is a session that was opened ahead of a log-on.
  bool prepared() const { return session() && !logged_on(); }
  // Another desktop has got the profile meanwhile.
  bool preparation_lost() const {
    const auto session = this->session();
    return session && !logged_on() && session->phase() != SessionPhase::open;
  }
  bool close_wanted() const { return close_wanted_; }
  // Null: nobody is logged on, and nothing is prepared. Shared, so that it outlives a log-off for whoever is
  // using it.
  std::shared_ptr<Session> session() const {
    const std::lock_guard lock(mutex_);
    return session_;
  }

  // What can be done before anybody logs on: what a closed session left is set aside, Windows told where the
  // profile is, and a session opened, unless something speaks against it that the log-on can see to: it is
  // used elsewhere, the coordinator is away.
  Result<void> prepare();
  // Loads what the log-on needs first (Session::get_ready), if a session was opened. At the same time as
  // log_on() or close_prepared(), which end it.
  Result<void> get_ready(std::chrono::milliseconds patience);
  void stop_getting_ready();
  // Nobody logged on. Afterwards this is of no use any more.
  Result<void> close_prepared();
  // Until programs can use the profile. ErrorCode::stale: what was prepared is lost to another desktop; begin
  // anew after close_prepared().
  Result<void> log_on();
  nlohmann::json describe();
  // Why Cloud Files, which were wanted, are not used, or not for all folders; "": nothing is missing.
  std::string cloud_files_missing() const;
  // What a session that there is can take over: how fast and how far it is filled, how often it is saved.
  void take_settings(const AgentSettings& settings);
  // Waits until Windows has let go of the user's registry, saves what is left, closes. On failure the session
  // stays open, and this can be called again.
  Result<nlohmann::json> log_off(std::chrono::milliseconds patience);

 private:
  WinDesktop(AgentSettings settings, UserAccount user, wire::TlsLink& link)
      : settings_(std::move(settings)), user_(std::move(user)), link_(link) {}
  Result<void> open_snapshots();
  Result<void> open_log();
  Result<void> begin_session();
  Result<void> load_hives(Session& session);
  Result<std::unique_ptr<ProfileInterception>> open_interception();
  void begin_cloud_files(Session& session);
  Result<void> use_cloud_files(Session& session);
  void end_cloud_files(bool logged_off);
  Result<void> wait_for_hives(std::chrono::milliseconds patience);

  const AgentSettings settings_;
  const UserAccount user_;
  wire::TlsLink& link_;
  SessionConfig config_;
  Faults faults_;
  std::atomic<double> log_on_seconds_{0};
  std::atomic<bool> close_wanted_{false};  // before the session, which sets it
  std::atomic<bool> begun_{false};         // a log-on was tried
  std::unique_ptr<WinVolume> volume_;
  std::unique_ptr<SnapshotProvider> snapshots_;
  HostSnapshots* host_snapshots_ = nullptr;            // them, where the coordinator makes them
  std::unique_ptr<changelog::ChangeLog> log_;          // until the log-on
  WinRegistryPort* registry_ = nullptr;                // the session's, while there is one
  std::mutex ready_mutex_;                             // held while it gets ready, which uses the session
  mutable std::mutex mutex_;                           // guards what follows
  std::string intercepted_sid_;                        // of the user as his programs have it
  std::unique_ptr<ProfileInterception> interception_;  // outlives the session, whose volume is its own
  std::unique_ptr<CloudFilesPort> cloud_port_;
  std::unique_ptr<CloudSession> cloud_;  // ends before the session, and goes after it
  std::string cloud_problem_;
  std::shared_ptr<Session> session_;
  std::unique_ptr<ChangeWatch> watch_;  // of log_on() and log_off(); goes before the session
};

}  // namespace roamstead::agent
