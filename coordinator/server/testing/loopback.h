// A coordinator on a random loopback port, on a repository in memory, and the peers that tests need: proper
// desktops, a relay that cuts connections, raw and TLS sockets that say whatever the test wants.
#pragma once

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/stream.hpp>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/wire/tls_link.h"
#include "coordinator/server/server.h"
#include "coordinator/server/testing/memory_repository.h"
#include "coordinator/server/testing/sample_batch.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::server {

// Desktops desk-a, desk-b (profile alice and later ones assigned) and desk-c (nothing assigned) are enrolled.
class Loopback {
 public:
  Loopback();
  ~Loopback();

  void add_profile(const std::string& name, const std::map<std::string, std::string>& files);
  wire::TlsLinkOptions identity(const std::string& desktop) const;
  std::unique_ptr<wire::TlsLink> link(const std::string& desktop) const;
  // Writes cert.pem, key.pem and ca.pem into folder/desktop.
  void write_identity(const std::string& desktop) const;
  const identity::CertificateAuthority& authority() const { return authority_; }
  // Whether openssl s_client with this command line reads a failure from the server.
  bool handshake_refused(const std::string& client) const;

  std::string stop();  // returns the address, to start there again
  void start(const std::string& address);
  void restart() { start(stop()); }

  support::TemporaryDirectory folder;
  MemoryRepository repository;
  repository::ProfileInfo alice;
  SessionOptions session_options;  // for the next start
  std::function<void(ServerOptions&)> adjust_server = [](ServerOptions&) {};
  std::unique_ptr<StateStore> store;
  std::unique_ptr<SessionTable> sessions;
  std::unique_ptr<Server> server;

 private:
  identity::CertificateAuthority authority_;
  std::map<std::string, identity::Issued> issued_;
};

// Passes bytes between a client and the server until it is told to cut.
class Relay {
 public:
  explicit Relay(const std::string& target);
  ~Relay();
  std::string address() const { return address_; }
  void cut_after(std::uint64_t bytes_to_server) { cut_at_ = passed_ + bytes_to_server; }
  void cut_now() { cut_requested_ = true; }  // the next time bytes go back
  int cuts() const { return cuts_; }

 private:
  void serve(asio::ip::tcp::socket client);

  asio::io_context io_;
  asio::ip::tcp::endpoint target_;
  asio::ip::tcp::acceptor acceptor_{io_};
  std::string address_;
  std::atomic<std::uint64_t> passed_{0};
  std::atomic<std::uint64_t> cut_at_{~std::uint64_t{0}};
  std::atomic<bool> cut_requested_{false};
  std::atomic<int> cuts_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

class RawPeer {
 public:
  explicit RawPeer(const std::string& address);
  void send(ByteView bytes);
  bool closed_within(std::chrono::milliseconds limit);

 private:
  std::unique_ptr<asio::io_context> io_;
  asio::ip::tcp::socket socket_;
};

class RawTlsPeer {
 public:
  RawTlsPeer(const Loopback& loop, const std::string& desktop, const std::vector<Bytes>& frames);
  void send(ByteView bytes);
  bool closed_within(std::chrono::milliseconds limit);

 private:
  asio::io_context io_;
  std::unique_ptr<asio::ssl::context> context_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
};

}  // namespace roamstead::server
