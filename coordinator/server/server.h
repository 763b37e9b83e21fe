// The coordinator's listening side: accepts desktops over mutual TLS and serves their sessions.
//
// Threads: one io thread (connections), a request pool, a commit pool (docs/threading.md). Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/identity/certificate_authority.h"
#include "coordinator/metrics/metrics.h"
#include "coordinator/server/first_boot_sink.h"
#include "coordinator/server/session_table.h"
#include "coordinator/server/settings_source.h"
#include "coordinator/server/snapshot_port.h"

namespace roamstead::audit {
class AuditLog;
}

namespace roamstead::server {

struct ServerOptions {
  std::string listen = "127.0.0.1:7420";  // "address:port"; port 0: any
  int listener = -1;  // a socket that listens already, duplicated at each start; comes before `listen`
  std::vector<std::string> names;  // further names for the certificate
  std::string state_directory;     // spool/ is made there
  std::uint64_t spool_limit_bytes = 64ull << 30;
  // Half: one desktop's batches, however large, leave the others room.
  std::uint64_t spool_limit_per_desktop_bytes = 32ull << 30;
  std::size_t request_threads = 4;
  std::size_t commit_threads = 64;  // they wait for storage, and share its flushes
  std::size_t max_connections = 4096;
  std::size_t max_connections_per_desktop = 8;
  // Memory for requests, answers and parts of batches under way.
  std::uint64_t flight_bytes = 256ull << 20;
  std::uint64_t flight_bytes_per_desktop = 32ull << 20;
  std::size_t max_handshakes = 256;  // connections not yet known to be desktops
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};
  std::chrono::milliseconds idle_timeout{300'000};
  // Called on the io thread at this interval (0: never), each time after both pools have answered: as long as
  // it is called, connections are served and commits get their turn.
  std::function<void()> on_alive = [] {};
  std::chrono::milliseconds alive_interval{0};
  // The coordinator's own certificate is made anew after so long; connections under way keep the one they
  // began with.
  std::chrono::milliseconds certificate_renewal = std::chrono::hours(60 * 24);
  // Requests of one desktop, over all its connections: beyond them it is read more slowly, never refused.
  double requests_per_second = 5000, requests_at_once = 20'000;
  // Enrolments by token: tries a second and at once, from one address (IPv6: one /64) and from all.
  double enrolments_per_second = 1, enrolments_at_once = 30;
  double all_enrolments_per_second = 20, all_enrolments_at_once = 200;
  metrics::Registry* metrics = nullptr;  // counts what desktops ask; null: nobody sees it
  audit::AuditLog* audit = nullptr;      // who was let in or refused is recorded there; null: nowhere (tests)
  std::size_t snapshot_threads = 8;      // they wait for hypervisors
  SnapshotPort* snapshots = nullptr;     // null: none are made of desktops
  // What a desktop's agent is to be set to, from any thread; none: not known just now.
  SettingsSource settings_of = [](const std::string&) { return settings::SentSettings(); };
  FirstBootSink first_boot = [](const std::string&, const wire::FirstBootReport&) { return Result<void>(); };
};

// The part of them that a running server takes: limits on connections, and timeouts.
void copy_limits(const ServerOptions& from, ServerOptions& to);

class Server {
 public:
  // Listens when it returns. All must outlive it.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options,
                                               const identity::CertificateAuthority& authority,
                                               StateStore& store, SessionTable& sessions);
  ~Server();  // stops

  std::string address() const;  // "127.0.0.1:41234"
  // Ends the connections of a desktop: its certificate was revoked.
  void disconnect(const std::string& desktop);
  std::size_t connections() const;
  std::uint64_t flight_bytes() const;   // in memory for desktops
  std::uint64_t spooled_bytes() const;  // set aside for batches on their way
  // Takes over the limits on connections and the timeouts; connections that are there keep their timeouts.
  void change_limits(const ServerOptions& options);
  // Accepts no more, lets every connection have the answers to what it has asked and to the batches it has
  // sent whole, then closes it. Returns whether all were closed within the limit.
  bool drain(std::chrono::milliseconds limit);
  // Closes all connections, waits for what is being committed.
  void stop();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::server
