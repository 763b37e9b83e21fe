// Everything an administrator may set for a coordinator, with what it is where nobody sets anything. A value
// has one name everywhere ("sessions.lease": key `lease` of section [sessions]); key_table.h has one line for
// each, loader.h reads them from files.
//
// Keys and secrets never stand here, only where they are. Nothing here names one machine but the paths and
// addresses, so one file fits many.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace roamstead::config {

using Duration = std::chrono::milliseconds;

struct Config {
  struct Repository {
    std::string directory;  // must be set
    std::string state;      // "": `state` in the repository's directory
  } repository;

  struct Listen {
    std::string address = "127.0.0.1:7420";  // port 0: any. A socket that systemd passes comes before it.
    std::string public_address;              // "host:port" that desktops are told; "": `address`
    std::vector<std::string> names;          // further DNS names or addresses for the certificate
  } listen;

  struct Tls {
    std::string authority;  // directory of ca-key.pem and ca-cert.pem; "": `ca` in the state directory
  } tls;

  struct Sessions {
    Duration lease{30'000};
    Duration vanished_recovery{60'000};  // how often desktops that vanished are looked at; 0: never
    Duration hand_over_wait{10'000};     // for the desktop that has a wanted profile to send its changes
  } sessions;

  struct Limits {
    std::uint64_t connections = 4096;
    std::uint64_t connections_per_desktop = 8;
    std::uint64_t handshakes = 256;  // connections not yet known to be desktops
    // Memory for requests, answers and parts of batches under way.
    std::uint64_t flight_bytes = 256ull << 20;
    std::uint64_t flight_per_desktop_bytes = 32ull << 20;
    std::uint64_t requests_per_second = 5000;  // of one desktop; beyond it is read more slowly
    std::uint64_t requests_at_once = 20'000;
    // With tokens, from one address (of IPv6, from one network) and from all.
    std::uint64_t enrolments_per_minute = 60;
    std::uint64_t enrolments_at_once = 30;
    std::uint64_t all_enrolments_per_minute = 1200;
    std::uint64_t all_enrolments_at_once = 200;
    std::uint64_t spool_bytes = 64ull << 30;  // batches on their way, all together
    std::uint64_t spool_per_desktop_bytes = 32ull << 30;
    Duration handshake_timeout{10'000};
    Duration stall_timeout{30'000};
    Duration idle_timeout{300'000};
    std::uint64_t request_threads = 4;
    std::uint64_t commit_threads = 64;  // they wait for storage, and share its flushes
  } limits;

  struct Admin {
    std::string socket;  // "": `admin.sock` in the state directory, which only its owner and root reach
    // The system's groups whose members have a role; "": none. Root and the coordinator's user have all.
    std::string viewers;
    std::string operators;
    std::string administrators;
  } admin;

  struct Health {
    std::string listen;  // "address:port" for /livez, /readyz and /metrics; "": nobody is answered
  } health;

  struct Rest {
    std::string listen;  // "address:port" for administrators over TLS; "": nobody is answered
    std::uint64_t connections = 64;
    std::uint64_t connections_per_client = 16;
    Duration idle_timeout{30'000};     // until a request begins
    Duration request_timeout{15'000};  // from its first byte to its last
  } rest;

  struct Log {
    std::string level = "info";  // debug, info, warning, error
  } log;

  struct Service {
    Duration drain_timeout{20'000};  // for what is being committed when the coordinator is told to end
  } service;
};

}  // namespace roamstead::config
