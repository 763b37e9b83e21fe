// The coordinator's listening side: accepts desktops over mutual TLS and serves their sessions.
//
// Threads: one io thread (connections), a request pool, a commit pool (docs/threading.md). Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/identity/certificate_authority.h"
#include "coordinator/server/session_table.h"

namespace roamstead::server {

struct ServerOptions {
  std::string listen = "127.0.0.1:7420";  // "address:port"; port 0: any
  std::vector<std::string> names;         // further names for the certificate
  std::string state_directory;            // spool/ is made there
  std::uint64_t spool_limit_bytes = 64ull << 30;
  // Half: one desktop's batches, however large, leave the others room.
  std::uint64_t spool_limit_per_desktop_bytes = 32ull << 30;
  std::size_t request_threads = 4;
  std::size_t commit_threads = 16;  // they wait for storage, and share its flushes
  std::size_t max_connections = 4096;
  std::size_t max_connections_per_desktop = 8;
  std::size_t max_handshakes = 256;  // connections not yet known to be desktops
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};
  std::chrono::milliseconds idle_timeout{300'000};
};

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
  // Closes all connections, waits for what is being committed.
  void stop();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::server
