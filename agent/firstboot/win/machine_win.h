// Steps as Windows processes: each in a job object, so that all it starts can be ended with it, and ends when
// this process does.
#pragma once

#include <string>

#include "agent/firstboot/runner.h"
#include "agent/win/base/windows_error.h"

namespace roamstead::firstboot {

class WindowsMachine final : public Machine {
 public:
  WindowsMachine();
  ~WindowsMachine() override;
  WindowsMachine(const WindowsMachine&) = delete;
  WindowsMachine& operator=(const WindowsMachine&) = delete;

  // From any thread: what is under way is ended.
  void request_stop();

  Result<Ended> run(const Command& command, std::chrono::seconds timeout, const std::string& output) override;
  bool pause(std::chrono::milliseconds length) override;
  bool stop_requested() override;
  std::string time_text() override;

 private:
  void* const stop_;  // an event, which once set stays so
};

// Asks that Windows restart, and lets no program hinder it.
Result<void> restart_windows();

using win::narrow_text;
using win::wide_text;
using win::windows_error;

}  // namespace roamstead::firstboot
