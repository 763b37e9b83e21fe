#include "coordinator/rest/https_server.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>

#include "common/base/event.h"
#include "common/base/host_port.h"
#include "coordinator/rest/tls_connection.h"

namespace roamstead::rest {
namespace {

using Clock = TlsConnection::Clock;

constexpr int kBacklog = 64;
constexpr std::chrono::hours kFreshContext{24};  // and with it a certificate of our own
constexpr std::chrono::seconds kLinger{2};

// Numeric, without the port; of IPv6 the first 64 bits count, as one machine has all the rest.
struct PeerAddress {
  std::string text;
  std::string network;
};
PeerAddress address_of(const sockaddr_storage& from) {
  char text[INET6_ADDRSTRLEN] = {};
  if (from.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(from).sin_addr, text, sizeof text);
    return {text, text};
  }
  auto address = reinterpret_cast<const sockaddr_in6&>(from).sin6_addr;
  ::inet_ntop(AF_INET6, &address, text, sizeof text);
  PeerAddress peer{text, text};
  if (IN6_IS_ADDR_V4MAPPED(&address)) return peer;
  std::memset(address.s6_addr + 8, 0, 8);
  ::inet_ntop(AF_INET6, &address, text, sizeof text);
  peer.network = std::string(text) + "/64";
  return peer;
}

// A socket that listens, and where it does.
Result<std::pair<int, std::string>> listen_tcp(const std::string& text) {
  RS_TRY(auto address, parse_host_port(text));
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) != 0)
    return fail(ErrorCode::invalid_argument,
                "'" + text + "' is not an address to listen on, such as 127.0.0.1:7443");
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, ::freeaddrinfo);
  const int listener = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  // SO_REUSEADDR, so that a restart need not wait; never SO_REUSEPORT, with which two programs would share
  // it.
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(listener, found->ai_addr, found->ai_addrlen) != 0 || ::listen(listener, kBacklog) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const std::string why = std::strerror(errno);
    if (listener >= 0) ::close(listener);
    return fail(ErrorCode::io, "cannot listen on " + text + ": " + why);
  }
  address.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                                   : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return std::pair(listener, to_string(address));
}

}  // namespace

class HttpsServer::Impl {
 public:
  Impl(Handlers handlers, HttpsLimits limits) : handlers_(std::move(handlers)), limits_(limits) {}
  ~Impl() { stop(); }

  Result<void> listen(const std::string& address) {
    RS_TRY(context_, handlers_.context());
    RS_TRY(auto listening, listen_tcp(address));
    listener_ = listening.first;
    address_ = std::move(listening.second);
    wake_ = ::eventfd(0, EFD_CLOEXEC);
    context_made_ = Clock::now();
    thread_ = std::thread([this] { accept(); });
    return {};
  }

  void stop() {
    stopping_ = true;
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
    thread_.join();
    {
      std::lock_guard lock(mutex_);
      for (auto& connection : connections_)
        if (!connection->done) ::shutdown(connection->descriptor, SHUT_RD);
    }
    for (auto& connection : connections_) connection->thread.join();
    connections_.clear();
    ::close(listener_);
    ::close(wake_);
  }

  const std::string& address() const { return address_; }

 private:
  struct Connection {
    int descriptor = -1;  // closed by its thread, under the mutex
    PeerAddress peer;
    std::string client;  // "": not admitted yet; guarded by the mutex
    bool done = false;   // guarded by the mutex
    std::thread thread;
  };

  class Sink final : public ResponseSink {
   public:
    Sink(const Impl& server, TlsConnection& tls) : server_(server), tls_(tls) {}
    bool write(std::string_view text) override {
      return !server_.stopping_ && tls_.write(text, Clock::now() + server_.limits_.answer).has_value();
    }
    bool is_open() override { return !server_.stopping_ && tls_.is_open(); }

   private:
    const Impl& server_;
    TlsConnection& tls_;
  };

  void accept() {
    while (!stopping_) {
      pollfd wanted[] = {{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
      ::poll(wanted, 2, 1000);
      join_ended();
      refresh_context();
      if (stopping_ || (wanted[0].revents & POLLIN) == 0) continue;
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const int descriptor =
          ::accept4(listener_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (descriptor < 0) {
        if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        continue;
      }
      auto connection = std::make_unique<Connection>();
      connection->descriptor = descriptor;
      connection->peer = address_of(from);
      if (!has_room_for(*connection)) {
        ::close(descriptor);
        continue;
      }
      auto* raw = connection.get();
      connections_.push_back(std::move(connection));
      raw->thread = std::thread([this, raw, context = context_] { run(*raw, context.get()); });
    }
  }

  // Of the accepting thread, which alone changes the list.
  bool has_room_for(const Connection& fresh) {
    std::lock_guard lock(mutex_);
    std::size_t strangers = 0;
    for (const auto& each : connections_)
      if (!each->done && each->client.empty() && each->peer.network == fresh.peer.network) ++strangers;
    return connections_.size() < limits_.connections && strangers < limits_.handshakes_of_address;
  }

  void join_ended() {
    for (auto it = connections_.begin(); it != connections_.end();) {
      {
        std::lock_guard lock(mutex_);
        if (!(*it)->done) {
          ++it;
          continue;
        }
      }
      (*it)->thread.join();
      it = connections_.erase(it);
    }
  }

  void refresh_context() {
    if (Clock::now() - context_made_ < kFreshContext) return;
    context_made_ = Clock::now();
    if (auto fresh = handlers_.context())
      context_ = std::move(*fresh);
    else
      log_event(Event::certificate_not_renewed, "REST: cannot renew the certificate: {}",
                fresh.error().to_string());
  }

  void run(Connection& connection, SSL_CTX* context) {
    // A peer that went away is an error of the write, wherever this runs.
    sigset_t broken_pipe;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
    std::unique_ptr<TlsConnection> tls;
    try {
      auto created = TlsConnection::create(context, connection.descriptor);
      if (created) {
        tls = std::move(*created);
        serve(connection, *tls);
      }
    } catch (const std::exception& error) {  // the root of this thread: a bug must not end the coordinator
      log_event(Event::admin_command_broken, "REST: a connection ended by a bug: {}", error.what());
    }
    // Closed under the lock, so that stop() never meets a number that is another's.
    std::lock_guard lock(mutex_);
    connection.done = true;
    tls.reset();
  }

  void serve(Connection& connection, TlsConnection& tls) {
    if (auto shaken = tls.handshake(Clock::now() + limits_.handshake); !shaken) {
      handlers_.note_refused(connection.peer.network, shaken.error());
      return;
    }
    auto client = handlers_.admit(tls.ssl(), connection.peer.text);
    std::string why;
    if (!client) {
      handlers_.note_refused(connection.peer.network, client.error());
      why = "this certificate is not an administrator's, or not any more";
    } else if (!take_place(connection, client->name)) {
      why = "too many connections of '" + client->name + "'";
    }
    if (why.empty())
      answer_requests(tls, *client);
    else
      say_last(tls, handlers_.refuse({client ? 429 : 403, why}));
  }

  bool take_place(Connection& connection, const std::string& name) {
    std::lock_guard lock(mutex_);
    std::size_t others = 0;
    for (const auto& each : connections_)
      if (!each->done && each->client == name) ++others;
    if (others >= limits_.connections_of_client) return false;
    connection.client = name;
    return true;
  }

  void answer_requests(TlsConnection& tls, const HttpsClient& client) {
    std::string unread;
    for (std::size_t count = 1; !stopping_; ++count) {
      auto request = read_request(tls, unread);
      if (!request) {
        if (request.error().status != 0) say_last(tls, handlers_.refuse(request.error()));
        return;
      }
      auto response = handlers_.answer(client, tls.ssl(), *request);
      const auto* wish = request->header("connection");
      const bool last = response.close || response.stream || count >= limits_.requests_of_connection ||
                        stopping_ || (wish != nullptr && *wish == "close");
      if (!tls.write(response_head(response, last) + response.body, Clock::now() + limits_.answer)) return;
      if (response.stream) {
        Sink sink(*this, tls);
        response.stream(sink);
      }
      if (last) {
        tls.linger(Clock::now() + kLinger);
        return;
      }
    }
  }

  void say_last(TlsConnection& tls, const HttpResponse& response) {
    if (tls.write(response_head(response, true) + response.body, Clock::now() + limits_.answer))
      tls.linger(Clock::now() + kLinger);
  }

  // Status 0: the peer has ended, or says nothing.
  HttpResult<HttpRequest> read_request(TlsConnection& tls, std::string& unread) {
    auto quiet = [] { return tl::unexpected(HttpRefusal{0, ""}); };
    auto slow = [] { return tl::unexpected(HttpRefusal{408, "the request takes too long"}); };
    if (unread.empty()) {
      auto begun = tls.read(unread, kMaxHeadBytes, Clock::now() + limits_.idle);
      if (!begun || *begun == 0) return quiet();
    }
    const auto deadline = Clock::now() + limits_.request;
    std::size_t head_end = 0;
    for (std::size_t searched = 0;;) {
      head_end = unread.find("\r\n\r\n", searched);
      if (head_end != std::string::npos) break;
      if (unread.size() >= kMaxHeadBytes)
        return tl::unexpected(
            HttpRefusal{431, "the header is larger than " + std::to_string(kMaxHeadBytes) + " bytes"});
      searched = unread.size() < 3 ? 0 : unread.size() - 3;
      auto more = tls.read(unread, kMaxHeadBytes, deadline);
      if (!more && more.error().code == ErrorCode::timeout) return slow();
      if (!more || *more == 0) return quiet();
    }
    auto request = parse_head(std::string_view(unread).substr(0, head_end + 2));
    if (!request) return request;
    auto length = body_length(*request);
    if (!length) return tl::unexpected(length.error());
    if (const auto* expect = request->header("expect")) {
      if (*expect != "100-continue")
        return tl::unexpected(HttpRefusal{417, "only 100-continue may be expected"});
      if (!tls.write("HTTP/1.1 100 Continue\r\n\r\n", deadline)) return quiet();
    }
    unread.erase(0, head_end + 4);
    while (unread.size() < *length) {
      auto more = tls.read(unread, *length - unread.size(), deadline);
      if (!more && more.error().code == ErrorCode::timeout) return slow();
      if (!more || *more == 0) return quiet();
    }
    request->body = unread.substr(0, *length);
    unread.erase(0, *length);
    return request;
  }

  const Handlers handlers_;
  const HttpsLimits limits_;
  int listener_ = -1;
  int wake_ = -1;
  std::string address_;
  std::shared_ptr<SSL_CTX> context_;  // of the accepting thread
  Clock::time_point context_made_;    // of the accepting thread
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;                                    // what connections say of themselves
  std::list<std::unique_ptr<Connection>> connections_;  // of the accepting thread, then of stop()
  std::thread thread_;
};

HttpsServer::HttpsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpsServer::~HttpsServer() = default;
const std::string& HttpsServer::address() const { return impl_->address(); }
void HttpsServer::stop() { impl_->stop(); }

Result<std::unique_ptr<HttpsServer>> HttpsServer::start(const std::string& address, Handlers handlers,
                                                        HttpsLimits limits) {
  auto impl = std::make_unique<Impl>(std::move(handlers), limits);
  RS_CHECK(impl->listen(address));
  return std::unique_ptr<HttpsServer>(new HttpsServer(std::move(impl)));
}

}  // namespace roamstead::rest
