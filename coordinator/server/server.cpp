#include "coordinator/server/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/redirect_error.hpp>
#include <cerrno>
#include <cstring>
#include <future>
#include <set>
#include <thread>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/base/host_port.h"
#include "common/wire/tls.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/server/connection.h"
#include "coordinator/server/rate_limit.h"
#include "coordinator/server/run_on.h"

namespace roamstead::server {
namespace {

using asio::ip::tcp;
constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr std::chrono::seconds kLookInterval{1};
constexpr std::chrono::hours kRenewalLook{1};
constexpr std::chrono::minutes kPruneInterval{10};

Result<tcp::endpoint> parse_endpoint(const std::string& text) {
  RS_TRY(auto parts, parse_host_port(text));
  asio::error_code error;
  auto address = asio::ip::make_address(parts.host, error);
  if (error)
    return fail(ErrorCode::invalid_argument,
                "'" + text + "' is not an address to listen on, such as 127.0.0.1:7420");
  return tcp::endpoint(address, parts.port);
}

// Where a socket listens that somebody else opened.
Result<tcp::endpoint> endpoint_of(int listener) {
  tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(listener, endpoint.data(), &size) != 0)
    return fail(ErrorCode::io,
                std::string("the socket that was passed has no address: ") + std::strerror(errno));
  endpoint.resize(size);
  return endpoint;
}

std::string to_text(const tcp::endpoint& endpoint) {
  return to_string(HostPort{endpoint.address().to_string(), endpoint.port()});
}

// "192.0.2.7" of "192.0.2.7:41234"; of IPv6 the first 64 bits, as one machine has all the rest.
std::string network_of(const std::string& remote) {
  auto host = remote.substr(0, remote.rfind(':'));
  asio::error_code error;
  auto address = asio::ip::make_address_v6(host, error);
  if (error || address.is_v4_mapped()) return host;
  auto bytes = address.to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), std::uint8_t{0});
  return asio::ip::make_address_v6(bytes).to_string() + "/64";
}

}  // namespace

void copy_limits(const ServerOptions& from, ServerOptions& to) {
  to.max_connections = from.max_connections;
  to.max_connections_per_desktop = from.max_connections_per_desktop;
  to.max_handshakes = from.max_handshakes;
  to.flight_bytes = from.flight_bytes;
  to.flight_bytes_per_desktop = from.flight_bytes_per_desktop;
  to.requests_per_second = from.requests_per_second;
  to.requests_at_once = from.requests_at_once;
  to.enrolments_per_second = from.enrolments_per_second;
  to.enrolments_at_once = from.enrolments_at_once;
  to.all_enrolments_per_second = from.all_enrolments_per_second;
  to.all_enrolments_at_once = from.all_enrolments_at_once;
  to.handshake_timeout = from.handshake_timeout;
  to.stall_timeout = from.stall_timeout;
  to.idle_timeout = from.idle_timeout;
}

class Server::Impl final : public DesktopPort {
 public:
  Impl(const ServerOptions& options, const identity::CertificateAuthority& authority, StateStore& store,
       SessionTable& sessions, std::vector<std::string> names)
      : options_(options),
        sessions_(sessions),
        presence_(sessions),
        authority_(authority),
        store_(store),
        names_(std::move(names)),
        enroller_(store, authority, options.audit),
        enrolment_limit_(enrolment_limit()),
        request_pool_(options.request_threads),
        commit_pool_(options.commit_threads),
        snapshot_pool_(options.snapshot_threads),
        handler_(sessions, os::join_path(options.state_directory, "spool"), options.spool_limit_bytes,
                 options.spool_limit_per_desktop_bytes,
                 options.metrics != nullptr ? *options.metrics : own_metrics_, options.first_boot,
                 options.snapshots),
        context_{request_pool_, commit_pool_,  snapshot_pool_,     handler_,
                 store,         presence_,     large_batch_,       enroller_,
                 flight_,       options.audit, options.settings_of} {}
  ~Impl() override { stop(); }

  Result<void> listen(const tcp::endpoint& endpoint) {
    RS_TRY(tls_, fresh_context());
    asio::error_code error;
    if (options_.listener >= 0) {
      // The one that was passed stays open, so that connections wait in it while nobody accepts.
      int copy = ::fcntl(options_.listener, F_DUPFD_CLOEXEC, 0);
      if (copy < 0)
        return fail(ErrorCode::io, std::string("cannot duplicate the socket: ") + std::strerror(errno));
      acceptor_.assign(endpoint.protocol(), copy, error);
      if (error) ::close(copy);
    } else {
      acceptor_.open(endpoint.protocol(), error);
      if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) return fail(ErrorCode::io, "cannot listen on " + to_text(endpoint) + ": " + error.message());
    address_ = to_text(acceptor_.local_endpoint(error));
    asio::co_spawn(io_, accept(), asio::detached);
    asio::co_spawn(io_, look_after_sessions(), asio::detached);
    if (options_.alive_interval.count() > 0) asio::co_spawn(io_, report_alive(), asio::detached);
    sessions_.set_port(this);
    asio::co_spawn(io_, renew_own_certificate(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
    return {};
  }

  void stop() {
    if (!thread_.joinable()) return;
    sessions_.set_port(nullptr);
    asio::post(io_, [this] {
      stopping_ = true;
      look_.cancel();
      alive_.cancel();
      stop_accepting();
      renewal_.cancel();
      for (const auto& channel : handshaking_) channel->close();
      for (const auto& connection : connections_) connection->close();
    });
    // Ends when the last coroutine has: those that wait for a pool keep it running.
    thread_.join();
    request_pool_.join();
    commit_pool_.join();
    snapshot_pool_.join();
  }

  void disconnect(const std::string& desktop) {
    asio::post(io_, [this, desktop] {
      for (const auto& connection : connections_)
        if (connection->desktop() == desktop) connection->close();
    });
  }

  bool is_connected(const std::string& desktop) const override { return presence_.is_here(desktop); }
  void push(const std::string& desktop, const wire::Push& push) override {
    asio::post(io_, [this, desktop, push] {
      for (const auto& connection : connections_)
        if (connection->desktop() == desktop) connection->push(push);
    });
  }

  void change_limits(const ServerOptions& options) {
    asio::post(io_, [this, options] {
      copy_limits(options, options_);
      flight_.set_limits({options_.flight_bytes, options_.flight_bytes_per_desktop});
      enrolment_limit_ = enrolment_limit();
      room_.cancel();
    });
  }

  bool drain(std::chrono::milliseconds limit) {
    auto drained = std::make_shared<std::promise<void>>();  // outlives a caller that gives up
    auto future = drained->get_future();
    asio::co_spawn(io_, finish_all(drained), asio::detached);
    return future.wait_for(limit) == std::future_status::ready;
  }

  const std::string& address() const { return address_; }
  std::size_t connections() const { return connection_count_; }
  std::uint64_t spooled_bytes() const { return handler_.spooled_bytes(); }
  std::uint64_t flight_bytes() const { return flight_.bytes(); }

 private:
  RateLimiter enrolment_limit() const {
    return RateLimiter(options_.enrolments_per_second, options_.enrolments_at_once,
                       options_.all_enrolments_per_second, options_.all_enrolments_at_once);
  }

  asio::awaitable<void> look_after_sessions() {
    auto next_pruning = std::chrono::steady_clock::now() + kPruneInterval;
    while (!stopping_) {
      if (std::chrono::steady_clock::now() >= next_pruning) {
        next_pruning = std::chrono::steady_clock::now() + kPruneInterval;
        co_await run_on(request_pool_, [this] {
          if (auto gone = store_.prune(now_100ns()); gone && *gone != 0)
            log_info("{} old rows of the state database are gone", *gone);
          return true;
        });
      }
      co_await run_on(request_pool_, [this] {
        sessions_.look_for_vanished();
        return true;
      });
      if (stopping_) co_return;
      asio::error_code ignored;
      look_.expires_after(kLookInterval);
      co_await look_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  Result<std::shared_ptr<asio::ssl::context>> fresh_context() const {
    RS_TRY(auto issued, authority_.issue_server(names_));
    RS_TRY(auto context,
           wire::make_server_context({issued.certificate_pem, issued.key_pem, authority_.certificate_pem()}));
    return std::shared_ptr<asio::ssl::context>(std::move(context));
  }

  // By the wall clock, as certificates end by that; looked at often enough for a machine that slept.
  asio::awaitable<void> renew_own_certificate() {
    using WallClock = std::chrono::system_clock;
    auto issued = WallClock::now();
    asio::error_code ignored;
    while (!stopping_) {
      renewal_.expires_after(std::min<std::chrono::milliseconds>(options_.certificate_renewal, kRenewalLook));
      co_await renewal_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      if (stopping_) break;
      // A clock set back makes the certificate one that is not valid yet.
      const auto age = WallClock::now() - issued;
      if (age >= WallClock::duration::zero() && age < options_.certificate_renewal) continue;
      auto context = co_await run_on(request_pool_, [this] { return fresh_context(); });
      if (!context) {
        log_event(Event::certificate_not_renewed, "cannot renew the coordinator's certificate: {}",
                  context.error().to_string());
        continue;
      }
      tls_ = std::move(*context);  // connections under way hold on to what they have
      issued = WallClock::now();
      log_info("the coordinator's certificate was renewed");
    }
  }

  void stop_accepting() {
    accepting_ = false;
    asio::error_code ignored;
    acceptor_.close(ignored);
    room_.cancel();
  }

  asio::awaitable<void> finish_all(std::shared_ptr<std::promise<void>> drained) {
    stop_accepting();
    for (const auto& channel : handshaking_) channel->close();
    for (const auto& connection : connections_) asio::co_spawn(io_, connection->finish(), asio::detached);
    asio::error_code error;
    while (!stopping_ && !(connections_.empty() && handshaking_.empty()))
      co_await room_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    drained->set_value();
  }

  asio::awaitable<void> report_alive() {
    while (!stopping_) {
      asio::error_code error;
      alive_.expires_after(options_.alive_interval);
      co_await alive_.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (stopping_) co_return;
      co_await run_on(request_pool_, [] { return true; });
      co_await run_on(commit_pool_, [] { return true; });
      options_.on_alive();
    }
  }

  asio::awaitable<void> accept() {
    while (accepting_) {
      asio::error_code error;
      while (accepting_ && (handshaking_.size() >= options_.max_handshakes ||
                            connections_.size() + handshaking_.size() >= options_.max_connections))
        co_await room_.async_wait(asio::redirect_error(asio::use_awaitable, error));
      auto socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (!accepting_) co_return;
      if (error) {  // out of descriptors, or the peer went already
        log_event(Event::cannot_accept, "cannot accept a connection: {}", error.message());
        asio::steady_timer pause(io_, kAcceptRetry);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      wire::Channel::Timeouts timeouts{options_.handshake_timeout, options_.stall_timeout,
                                       options_.idle_timeout};
      auto channel = std::make_shared<wire::Channel>(std::move(socket), *tls_, timeouts);
      // Only while somebody may enrol is anything read from who has no certificate.
      if (store_.enrolment_open_until() > now_100ns()) wire::make_certificate_optional(channel->ssl());
      handshaking_.insert(channel);
      asio::co_spawn(io_, serve(channel), asio::detached);
    }
  }

  asio::awaitable<void> serve(std::shared_ptr<wire::Channel> channel) {
    auto shaken = co_await channel->handshake(asio::ssl::stream_base::server);
    bool enrolling = shaken && !stopping_ && !wire::has_peer_certificate(channel->ssl());
    if (enrolling) co_await enroll(channel);
    handshaking_.erase(channel);
    room_.cancel();
    if (!shaken) note_refused(*channel, shaken.error());
    if (!shaken || enrolling) co_return;
    auto peer = wire::peer_certificate(channel->ssl());
    if (peer && peer->kind == wire::kAdministratorKind) {
      note_refused(*channel,
                   Error(ErrorCode::denied,
                         "'" + peer->common_name + "' has an administrator's certificate, no desktop's"));
      peer = fail(ErrorCode::denied, "not a desktop");
    }
    if (!accepting_ || !peer || !has_room_for(peer->common_name)) {
      channel->close();
      co_return;
    }
    auto connection =
        std::make_shared<Connection>(channel, context_, peer->common_name, share_of(peer->common_name));
    connections_.insert(connection);
    connection_count_ = connections_.size();
    co_await connection->run();
    connections_.erase(connection);
    connection_count_ = connections_.size();
    room_.cancel();
  }

  std::shared_ptr<DesktopShare> share_of(const std::string& desktop) {
    for (const auto& connection : connections_)
      if (connection->desktop() == desktop) return connection->share();
    return std::make_shared<DesktopShare>(
        io_.get_executor(), TokenBucket(options_.requests_per_second, options_.requests_at_once));
  }

  // One frame, and one answer; counts as a handshake all the while, and must be over as soon.
  asio::awaitable<void> enroll(std::shared_ptr<wire::Channel> channel) {
    asio::steady_timer deadline(io_, options_.handshake_timeout);
    deadline.async_wait([weak = std::weak_ptr(channel)](const asio::error_code& cancelled) {
      auto late = weak.lock();
      if (!cancelled && late) late->close();
    });
    auto frame = co_await channel->read(wire::kMaxEnrollBytes);
    if (frame) {
      auto address = network_of(channel->remote());
      Bytes answer;
      if (enrolment_limit_.admit(address, TokenBucket::Clock::now())) {
        auto work = [this, address, request = std::move(*frame)]() mutable {
          return enroller_.answer_enroll(address, std::move(request));
        };
        answer = co_await run_on(request_pool_, std::move(work));
      } else {
        enroller_.note_limited(address);
        answer = failure_frame(frame->request,
                               Error(ErrorCode::busy, "too many enrolments at once; try again in a minute"));
      }
      channel->send(std::move(answer));
      co_await channel->drained(1);
    }
    channel->close();
  }

  void note_refused(const wire::Channel& channel, const Error& why) {
    log_info("connection refused: {}", why.to_string());
    if (options_.audit == nullptr || why.code != ErrorCode::denied) return;
    options_.audit->append({"desktop.connect",
                            "address " + network_of(channel.remote()),
                            "",
                            audit::Outcome::refused,
                            why.to_string(),
                            {}});
  }

  // Those that have not greeted yet count too.
  bool has_room_for(const std::string& desktop) {
    std::size_t count = 0;
    for (const auto& connection : connections_) count += connection->desktop() == desktop ? 1 : 0;
    if (count < options_.max_connections_per_desktop) return true;
    log_event(Event::too_many_connections, "desktop '{}' has {} connections already: refused", desktop,
              count);
    return false;
  }

  ServerOptions options_;  // its limits and timeouts are of the io thread
  SessionTable& sessions_;
  Presence presence_;
  asio::io_context io_{1};
  Turn large_batch_{io_.get_executor()};
  Flight flight_{io_.get_executor(), {options_.flight_bytes, options_.flight_bytes_per_desktop}};
  asio::steady_timer look_{io_};
  const identity::CertificateAuthority& authority_;
  StateStore& store_;
  const std::vector<std::string> names_;
  Enroller enroller_;
  RateLimiter enrolment_limit_;              // of the io thread
  std::shared_ptr<asio::ssl::context> tls_;  // of the io thread; shared with connections being set up
  asio::thread_pool request_pool_;
  asio::thread_pool commit_pool_;
  asio::thread_pool snapshot_pool_;
  metrics::Registry own_metrics_;
  RequestHandler handler_;
  ConnectionContext context_;
  tcp::acceptor acceptor_{io_};
  asio::steady_timer renewal_{io_};
  asio::steady_timer room_{io_, asio::steady_timer::time_point::max()};  // a condition: a place became free
  std::string address_;
  std::thread thread_;
  std::atomic<std::size_t> connection_count_{0};
  // Of the io thread:
  std::set<std::shared_ptr<wire::Channel>> handshaking_;
  std::set<std::shared_ptr<Connection>> connections_;
  asio::steady_timer alive_{io_};
  bool accepting_ = true;
  bool stopping_ = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options,
                                              const identity::CertificateAuthority& authority,
                                              StateStore& store, SessionTable& sessions) {
  RS_TRY(auto endpoint,
         options.listener >= 0 ? endpoint_of(options.listener) : parse_endpoint(options.listen));
  std::vector<std::string> names{wire::kCoordinatorName};
  if (!endpoint.address().is_unspecified()) names.push_back(endpoint.address().to_string());
  names.insert(names.end(), options.names.begin(), options.names.end());
  RS_CHECK(os::real_file_system().make_directories(os::join_path(options.state_directory, "spool")));
  auto impl = std::make_unique<Impl>(options, authority, store, sessions, std::move(names));
  RS_CHECK(impl->listen(endpoint));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::string Server::address() const { return impl_->address(); }
void Server::disconnect(const std::string& desktop) { impl_->disconnect(desktop); }
std::size_t Server::connections() const { return impl_->connections(); }
std::uint64_t Server::flight_bytes() const { return impl_->flight_bytes(); }
std::uint64_t Server::spooled_bytes() const { return impl_->spooled_bytes(); }
void Server::change_limits(const ServerOptions& options) { impl_->change_limits(options); }
bool Server::drain(std::chrono::milliseconds limit) { return impl_->drain(limit); }
void Server::stop() { impl_->stop(); }

}  // namespace roamstead::server
