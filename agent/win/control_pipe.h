// The named pipe by which commands, scripts and people speak to the agent's service (control_lines.h).
//
// Everybody on this machine may connect, nobody from another one. Only administrators and the system may ask
// for anything but what `open_to_all` lets through: the caller's token is looked at for each connection.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/desktop/control_lines.h"
#include "agent/win/base/handle.h"

namespace roamstead::agent {

inline constexpr const wchar_t* kControlPipe = L"\\\\.\\pipe\\RoamsteadAgent";

struct ControlCaller {
  bool administrator = false;
  unsigned long process = 0;
};

class ControlPipe {
 public:
  using Answer = std::function<nlohmann::json(const nlohmann::json&, const ControlCaller&)>;
  // ErrorCode::busy when another process serves it.
  static Result<std::unique_ptr<ControlPipe>> listen();
  ~ControlPipe();

  // Until stop(); each connection has a thread of its own, at most 16. Answers under way are still sent.
  void serve(const Answer& answer);
  void stop();  // from any thread

 private:
  ControlPipe() = default;
  Result<win::Handle> make_instance(bool first);

  win::Handle stop_;
  win::Handle instance_;  // that waits for a client
};

// Sends one request to this machine's agent and waits for its answer. ErrorCode::unavailable when none runs.
Result<nlohmann::json> ask_agent(const nlohmann::json& request);

}  // namespace roamstead::agent
