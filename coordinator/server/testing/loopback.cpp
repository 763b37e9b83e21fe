#include "coordinator/server/testing/loopback.h"

#include <poll.h>

#include <asio/write.hpp>
#include <cstdlib>
#include <fstream>

#include "common/base/file_time.h"
#include "common/wire/tls.h"
#include "tests/support/own_address.h"

namespace roamstead::server {
namespace {

using asio::ip::tcp;

tcp::endpoint endpoint_of(const std::string& address) {
  auto colon = address.rfind(':');
  return {asio::ip::make_address(address.substr(0, colon)),
          static_cast<unsigned short>(std::stoi(address.substr(colon + 1)))};
}

bool wait_readable(int descriptor, std::chrono::steady_clock::time_point until) {
  auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
  pollfd wanted{descriptor, POLLIN, 0};
  return left > 0 && ::poll(&wanted, 1, static_cast<int>(left)) == 1;
}

void must(const Result<void>& done) {
  if (!done) throw std::runtime_error(done.error().to_string());
}

// Reads and forgets until the peer closes.
bool closes(tcp::socket& socket, std::chrono::milliseconds limit) {
  auto until = std::chrono::steady_clock::now() + limit;
  std::array<char, 4096> sink;
  while (wait_readable(socket.native_handle(), until)) {
    asio::error_code error;
    socket.read_some(asio::buffer(sink), error);
    if (error) return true;
  }
  return false;
}

}  // namespace

Loopback::Loopback()
    : authority_(
          identity::CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca").value()) {
  alice = repository.add_profile("alice", {{"a.txt", "first"}, {"d/b.txt", "second"}});
  store = StateStore::open(folder.path()).value();
  for (const char* name : {"desk-a", "desk-b", "desk-c"}) {
    issued_[name] = authority_.issue_desktop(name).value();
    must(store->add_desktop({name, issued_[name].serial, now_100ns(), 0}));
    if (name[5] != 'c') must(store->assign({name, alice.id, "alice"}));
  }
  start(support::own_address() + ":0");
}

Loopback::~Loopback() { stop(); }

void Loopback::add_profile(const std::string& name, const std::map<std::string, std::string>& files) {
  auto profile = repository.add_profile(name, files);
  for (const char* desktop : {"desk-a", "desk-b"}) must(store->assign({desktop, profile.id, name}));
}

wire::TlsLinkOptions Loopback::identity(const std::string& desktop) const {
  wire::TlsLinkOptions options;
  options.address = server ? server->address() : "127.0.0.1:1";
  options.certificate_pem = issued_.at(desktop).certificate_pem;
  options.key_pem = issued_.at(desktop).key_pem;
  options.ca_pem = authority_.certificate_pem();
  options.software = "test";
  return options;
}

std::unique_ptr<wire::TlsLink> Loopback::link(const std::string& desktop) const {
  return wire::TlsLink::create(identity(desktop)).value();
}

void Loopback::write_identity(const std::string& desktop) const {
  auto options = identity(desktop);
  auto directory = folder / desktop;
  must(os::real_file_system().make_directories(directory));
  std::ofstream(directory + "/cert.pem") << options.certificate_pem;
  std::ofstream(directory + "/key.pem") << options.key_pem;
  std::ofstream(directory + "/ca.pem") << options.ca_pem;
}

bool Loopback::handshake_refused(const std::string& client) const {
  // TLS 1.3 lets a client finish before the server has seen its (missing) certificate: the refusal is an
  // alert after it.
  auto log = folder / "s_client.log";
  // s_client must go on reading, so its input stays open for a while.
  auto status = std::system(("(sleep 1) | timeout 5 " + client + " >" + log + " 2>&1").c_str());
  std::ifstream in(log);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  return status != 0 || text.find("alert certificate required") != std::string::npos;
}

std::string Loopback::stop() {
  auto address = server ? server->address() : "";
  server.reset();
  sessions.reset();
  return address;
}

void Loopback::start(const std::string& address) {
  ServerOptions options;
  options.listen = address;
  options.state_directory = folder.path();
  options.handshake_timeout = std::chrono::milliseconds(1000);
  options.stall_timeout = std::chrono::milliseconds(1000);
  adjust_server(options);
  session_options.working_set_directory = folder / "working-sets";
  sessions = SessionTable::create(*store, repository, session_options, {}).value();
  server = Server::start(options, authority_, *store, *sessions).value();
}

Relay::Relay(const std::string& target) : target_(endpoint_of(target)) {
  acceptor_ = tcp::acceptor(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  address_ = "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  thread_ = std::thread([this] {
    while (!stopping_) {
      if (!wait_readable(acceptor_.native_handle(),
                         std::chrono::steady_clock::now() + std::chrono::milliseconds(50)))
        continue;
      serve(acceptor_.accept());
    }
  });
}

Relay::~Relay() {
  stopping_ = true;
  thread_.join();
}

void Relay::serve(tcp::socket client) {
  tcp::socket server(io_);
  asio::error_code error;
  server.connect(target_, error);
  if (error) return;
  while (!stopping_) {
    pollfd both[2] = {{client.native_handle(), POLLIN, 0}, {server.native_handle(), POLLIN, 0}};
    if (::poll(both, 2, 50) < 0) return;
    for (int side = 0; side < 2; ++side) {
      if (both[side].revents == 0) continue;
      auto& from = side == 0 ? client : server;
      auto& to = side == 0 ? server : client;
      std::array<char, 16384> buffer;
      auto count = from.read_some(asio::buffer(buffer), error);
      if (error) return;
      if (side == 0) passed_ += count;
      if (passed_ >= cut_at_ || (side == 1 && cut_requested_.exchange(false))) {
        cut_at_ = ~std::uint64_t{0};
        ++cuts_;
        return;
      }
      asio::write(to, asio::buffer(buffer.data(), count), error);
      if (error) return;
    }
  }
}

RawPeer::RawPeer(const std::string& address) : io_(std::make_unique<asio::io_context>()), socket_(*io_) {
  socket_.connect(endpoint_of(address));
}

void RawPeer::send(ByteView bytes) {
  asio::error_code ignored;  // the server may have had enough already
  asio::write(socket_, asio::buffer(bytes.data(), bytes.size()), ignored);
}

bool RawPeer::closed_within(std::chrono::milliseconds limit) { return closes(socket_, limit); }

RawTlsPeer::RawTlsPeer(const Loopback& loop, const std::string& desktop, const std::vector<Bytes>& frames)
    : context_([&] {
        auto identity = loop.identity(desktop);
        return wire::make_client_context({identity.certificate_pem, identity.key_pem, identity.ca_pem})
            .value();
      }()),
      stream_(io_, *context_) {
  stream_.next_layer().connect(endpoint_of(loop.server->address()));
  stream_.handshake(asio::ssl::stream_base::client);
  for (const auto& frame : frames) send(frame);
}

void RawTlsPeer::send(ByteView bytes) {
  asio::error_code ignored;
  asio::write(stream_, asio::buffer(bytes.data(), bytes.size()), ignored);
}

bool RawTlsPeer::closed_within(std::chrono::milliseconds limit) {
  return closes(stream_.next_layer(), limit);
}

}  // namespace roamstead::server
