// The agent of this machine: its settings, its link to the coordinator, and the user who is logged on. What
// the service and `--foreground` run; commands reach it through the control pipe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <nlohmann/json_fwd.hpp>

#include "agent/win/control_pipe.h"
#include "agent/win/win_desktop.h"

namespace roamstead::agent {

// Thread-safe.
class AgentService {
 public:
  AgentService(LoadedSettings settings, Faults faults);
  ~AgentService();

  // {"op": "status"} …; failures are {"error": {"code", "message"}}.
  nlohmann::json answer(const nlohmann::json& request, const ControlCaller& caller);
  // Connects and reports the first start, if there is a coordinator yet.
  void connect();
  Result<nlohmann::json> log_on(const std::string& user);
  Result<nlohmann::json> log_off(std::chrono::milliseconds patience);
  // "stop" was asked for over the pipe.
  void on_stop(std::function<void()> stop) { stop_ = std::move(stop); }

 private:
  Result<nlohmann::json> perform(const nlohmann::json& request, const ControlCaller& caller);
  Result<nlohmann::json> prepare(const std::string& user);
  nlohmann::json status();
  Result<wire::TlsLink*> link();  // made when there is an identity
  Result<std::shared_ptr<WinDesktop>> desktop_for(const std::string& user);

  const LoadedSettings settings_;
  const Faults faults_;
  std::function<void()> stop_;
  std::shared_ptr<WinDesktop> desktop() const;
  void set_desktop(std::shared_ptr<WinDesktop> desktop);

  std::mutex operations_;  // one log-on, log-off or preparation at a time; guards the link
  std::unique_ptr<wire::TlsLink> link_;
  mutable std::mutex mutex_;  // taken after it, for moments
  std::shared_ptr<WinDesktop> desktop_;
};

}  // namespace roamstead::agent
