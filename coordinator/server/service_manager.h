// What the service manager (systemd, or whoever speaks its protocols) is told, and what it passes: readiness,
// status and watchdog by datagrams to $NOTIFY_SOCKET, listening sockets as inherited descriptors. Everything
// does nothing where no manager started this process. Thread-safe but for take_listener.
#pragma once

#include <chrono>
#include <string>

#include "common/base/log.h"
#include "common/base/result.h"

namespace roamstead::server::service_manager {

void ready(const std::string& status);
void reloading();  // until ready is called again
void stopping(const std::string& status);
void status(const std::string& text);
void alive();                                          // the watchdog may go on sleeping
void extend_start_timeout(std::chrono::seconds more);  // of a start or stop that takes long

// How often alive() must be called at least, halved for safety; 0: nobody waits for it.
std::chrono::milliseconds watchdog_interval();

// The listening TCP socket that was passed, -1 when none was. Call once, before threads start: the variables
// that announce it are removed, so that no child takes it for its own.
Result<int> take_listener();

// Whether standard error is the journal: it then understands priorities written as "<4>".
bool logs_to_journal();
// A line there. An event (common/base/event.h) is also its field ROAMSTEAD_EVENT.
void log(LogLevel level, const std::string& message);

}  // namespace roamstead::server::service_manager
