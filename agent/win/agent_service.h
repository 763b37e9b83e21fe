// The agent of this machine: its settings, its link to the coordinator, and the user who is logged on. What
// the service and `--foreground` run; commands reach it through the control pipe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <thread>

#include "agent/desktop/agent_events.h"
#include "agent/firstboot/win/machine_win.h"
#include "agent/win/control_pipe.h"
#include "agent/win/intercept/pipe_server.h"
#include "agent/win/win_desktop.h"

namespace roamstead::agent {

// Thread-safe.
class AgentService {
 public:
  // `sent`: what the coordinator sent last.
  AgentService(LocalSettings local, settings::SentSettings sent, EventSink events, Faults faults);
  ~AgentService();

  // Its own thread: the connection, what the coordinator asks for, log-offs it wants.
  void start();
  void stop();  // before this is destroyed
  // In a thread of its own: what composition left to be run once. Reported to the coordinator.
  void run_first_boot();

  // {"op": "status"} …; failures are {"error": {"code", "message"}}.
  nlohmann::json answer(const nlohmann::json& request, const ControlCaller& caller);
  Result<nlohmann::json> log_on(const std::string& user);
  Result<nlohmann::json> log_off(std::chrono::milliseconds patience);
  bool is_logged_on() const;
  bool is_logged_on(const std::string& sid_or_name) const;
  std::chrono::milliseconds log_off_patience() const { return settings()->settings.log_out_within; }
  // Before the machine sleeps: what was loaded is recorded, what was written is on the disk.
  void flush();
  // After it: the connection is looked at now.
  void wake();
  // "stop" was asked for over the pipe.
  void on_stop(std::function<void()> stop) { stop_ = std::move(stop); }

 private:
  Result<nlohmann::json> perform(const nlohmann::json& request, const ControlCaller& caller);
  Result<nlohmann::json> prepare(const std::string& user);
  nlohmann::json status();
  Result<wire::TlsLink*> link();  // made when there is an identity
  Result<std::shared_ptr<WinDesktop>> desktop_for(const std::string& user);

  void work();
  void connect();
  void report_first_boot(wire::TlsLink& link);
  void hear(const wire::Push& push);  // on the link's thread
  void take_settings(const settings::SentSettings& sent);
  std::shared_ptr<const LoadedSettings> settings() const;
  void prepare_as_asked(const std::string& profile);
  void look_after_desktop();
  void give_up_prepared(const std::shared_ptr<WinDesktop>& desktop, const std::string& why);
  Result<void> close_prepared(WinDesktop& desktop);  // under operations_

  const LocalSettings local_;
  settings::SentSettings sent_;  // that hold; the worker's
  const EventSink events_;
  const Faults faults_;
  std::function<void()> stop_;
  std::shared_ptr<WinDesktop> desktop() const;
  void set_desktop(std::shared_ptr<WinDesktop> desktop);

  std::mutex operations_;  // one log-on, log-off or preparation at a time; guards the link
  std::unique_ptr<wire::TlsLink> link_;
  std::atomic<std::chrono::steady_clock::rep> prepared_until_{0};
  mutable std::mutex mutex_;  // taken after it, for moments
  std::shared_ptr<const LoadedSettings> settings_;
  std::shared_ptr<WinDesktop> desktop_;

  std::unique_ptr<PipeServer> hooks_;  // programs that carry the hook; asks desktop()
  std::atomic<bool> hooks_began_{false};

  std::mutex work_mutex_;  // guards what follows; taken after all others, for moments
  std::condition_variable work_there_;
  std::deque<std::string> to_prepare_;  // profiles
  std::optional<settings::SentSettings> to_take_;
  bool connect_now_ = true;
  bool stopping_ = false;
  std::thread worker_;
  std::unique_ptr<firstboot::WindowsMachine> machine_;  // what runs first-boot steps
  std::thread first_boot_;
};

}  // namespace roamstead::agent
