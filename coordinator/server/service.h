// The coordinator as a service: runs until it is told to end, tells the service manager how it is, takes a
// new configuration without dropping a session, and opens the repository again after a write that failed.
//
//   SIGTERM, SIGINT  ends: nothing new is accepted, what is being committed is finished and answered, within
//                    service.drain_timeout; desktops come back to whoever listens next
//   SIGHUP           reads the configuration again and takes over what can be changed in a running
//                    coordinator; the log says what cannot. A configuration with mistakes changes nothing.
//   SIGUSR1          is how a committing thread reports that the storage failed
#pragma once

#include <functional>

#include "common/base/fault.h"
#include "coordinator/config/loader.h"

namespace roamstead::server {

struct ServiceOptions {
  config::Loaded configuration;                        // complete (config::check_complete)
  std::function<Result<config::Loaded>()> load_again;  // at SIGHUP
  Faults faults;
};

// Returns when the service has ended; call once in a process, before other threads start. Prints
// "ready ADDRESS" on standard output when it listens.
Result<void> run_service(ServiceOptions options);

}  // namespace roamstead::server
