// The control socket of a running desktop: one JSON object a line each way, over a Unix socket only its user
// may open.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/desktop/control_lines.h"

namespace roamstead::agent {

// Serves until `done` says so; each connection has a thread of its own, at most 16.
class ControlServer {
 public:
  using Answer = ControlAnswer;
  static Result<std::unique_ptr<ControlServer>> listen(const std::string& socket_path);
  virtual ~ControlServer() = default;
  virtual void serve(const Answer& answer, const std::function<bool()>& done) = 0;
};

// Sends one request and waits for its answer; an answer that reports an error is that error.
Result<nlohmann::json> ask_desktop(const std::string& socket_path, const nlohmann::json& request);

}  // namespace roamstead::agent
