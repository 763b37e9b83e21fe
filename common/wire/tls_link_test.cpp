// The agent's link over real sockets and real TLS. The whole coordinator answers in its own tests; this one
// says little, but may misbehave, and is there on Windows too.
#include "common/wire/tls_link.h"

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <thread>

#include "common/wire/channel.h"
#include "common/wire/key_request.h"
#include "common/wire/message.h"
#include "common/wire/test_authority.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::wire {
namespace {

using support::must;
using namespace std::chrono_literals;

constexpr std::uint64_t kStreamBytes = 3'000'000;

Bytes stream_part(std::uint64_t offset, std::size_t length) {
  Bytes part(std::min<std::uint64_t>(length, kStreamBytes - std::min(offset, kStreamBytes)));
  for (std::size_t at = 0; at < part.size(); ++at) part[at] = static_cast<std::byte>((offset + at) * 7 >> 3);
  return part;
}

// Greets, answers `renew` and `read`, and counts. Its lines are cut after `answers_before_cut` answers,
// `cuts` times.
class SmallCoordinator {
 public:
  struct Behaviour {
    int cuts = 0;
    int answers_before_cut = 0;
    bool answers = true;
    bool old_tls = false;  // 1.2 at most
  };

  explicit SmallCoordinator(const TlsIdentity& identity) : SmallCoordinator(identity, Behaviour{}) {}
  SmallCoordinator(const TlsIdentity& identity, Behaviour behaviour)
      : behaviour_(behaviour),
        context_(must(make_server_context(identity))),
        acceptor_(io_, {asio::ip::address_v4::loopback(), 0}) {
    if (behaviour.old_tls) {
      SSL_CTX_set_min_proto_version(context_->native_handle(), 0);
      SSL_CTX_set_max_proto_version(context_->native_handle(), TLS1_2_VERSION);
    }
    asio::co_spawn(io_, accept(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~SmallCoordinator() {
    io_.stop();
    thread_.join();
  }
  SmallCoordinator(const SmallCoordinator&) = delete;
  SmallCoordinator& operator=(const SmallCoordinator&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }
  int greeted() const { return greeted_; }
  int answered() const { return answered_; }
  int refused() const { return refused_; }
  std::string last_peer() {
    std::lock_guard guard(mutex_);
    return last_peer_;
  }

 private:
  asio::awaitable<void> accept() {
    for (;;) {
      asio::error_code error;
      auto socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      auto channel = std::make_shared<Channel>(std::move(socket), *context_, Channel::Timeouts{});
      asio::co_spawn(io_, serve(std::move(channel)), asio::detached);
    }
  }

  asio::awaitable<void> serve(std::shared_ptr<Channel> channel) {
    auto shaken = co_await channel->handshake(asio::ssl::stream_base::server);
    if (!shaken) {
      ++refused_;
      co_return;
    }
    if (const auto peer = peer_certificate(channel->ssl())) {
      std::lock_guard guard(mutex_);
      last_peer_ = peer->kind + ":" + peer->common_name;
    }
    for (int answers = 0;;) {
      auto frame = co_await channel->read();
      if (!frame) {
        channel->close();
        co_return;
      }
      if (frame->type == FrameType::hello) {
        ++greeted_;
        channel->send(encode_frame(FrameType::hello_reply, 0, encode_message(HelloReply{})));
        continue;
      }
      if (!behaviour_.answers) continue;
      if (cuts_ < behaviour_.cuts && answers++ == behaviour_.answers_before_cut) {
        ++cuts_;
        channel->close();
        co_return;
      }
      answer(*channel, std::move(*frame));
    }
  }

  void answer(Channel& channel, Frame frame) {
    const auto request = frame.request;
    if (frame.type == FrameType::read) {
      const auto asked = decode_message<ReadRequest>(std::move(frame), "read");
      if (!asked) return channel.close();
      ++answered_;
      const auto part = stream_part(asked->offset, asked->length);
      channel.send(encode_frame(FrameType::read_reply, request, part, Compression::if_smaller));
    } else if (frame.type == FrameType::renew) {
      ++answered_;
      channel.send(encode_frame(FrameType::done, request, {}));
    } else {
      const Failure failure{std::string(to_string(ErrorCode::unsupported)), "not here"};
      channel.send(encode_frame(FrameType::failure, request, encode_message(failure)));
    }
  }

  const Behaviour behaviour_;
  asio::io_context io_;
  std::unique_ptr<asio::ssl::context> context_;
  asio::ip::tcp::acceptor acceptor_;
  std::atomic<int> greeted_{0}, answered_{0}, refused_{0};
  int cuts_ = 0;
  std::mutex mutex_;
  std::string last_peer_;
  std::thread thread_;
};

TlsLinkOptions options_for(const TlsIdentity& identity, const std::string& address) {
  TlsLinkOptions options;
  options.address = address;
  options.certificate_pem = identity.certificate_pem;
  options.key_pem = identity.key_pem;
  options.ca_pem = identity.ca_pem;
  options.first_backoff = 5ms;
  options.last_backoff = 20ms;
  return options;
}

const Guid kSecret = Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a08").value();

TEST_CASE("calls of many threads share one connection, and each gets its own answer") {
  const TestAuthority authority;
  SmallCoordinator coordinator(authority.coordinator());
  auto link = must(TlsLink::create(options_for(authority.desktop("desk-7"), coordinator.address())));
  must(link->connect());
  CHECK(coordinator.last_peer() == "roamstead:desktop:desk-7");
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (std::uint64_t caller = 0; caller < 6; ++caller)
    callers.emplace_back([&, caller] {
      for (std::uint64_t call = 0; call < 20; ++call) {
        const auto offset = (caller * 20 + call) * 24'001;
        const auto part = link->read(kSecret, {}, "", offset, 1000 + call * 5000);
        if (!part || *part != stream_part(offset, 1000 + call * 5000)) ++wrong;
      }
    });
  for (auto& each : callers) each.join();
  CHECK(wrong == 0);
  CHECK(must(link->read(kSecret, {}, "", 0, kMaxReadBytes)) == stream_part(0, kMaxReadBytes));
  CHECK(must(link->read(kSecret, {}, "", kStreamBytes, 10)).empty());
  CHECK(coordinator.greeted() == 1);
  CHECK(link->bytes_received() > kMaxReadBytes / 64);
  CHECK(link->close(kSecret).error().code == ErrorCode::unsupported);  // its own word travels
}

TEST_CASE("calls that a lost connection took with it are made again on a new one") {
  const TestAuthority authority;
  SmallCoordinator coordinator(authority.coordinator(), {.cuts = 5, .answers_before_cut = 2});
  auto link = must(TlsLink::create(options_for(authority.desktop(), coordinator.address())));
  for (int call = 0; call < 20; ++call) CHECK(link->renew(kSecret));
  CHECK(coordinator.greeted() == 6);
  CHECK(coordinator.answered() == 20);
}

TEST_CASE("certificates decide who talks to whom") {
  const TestAuthority ours, foreign;
  const auto call = [&](const TlsIdentity& server, const TlsIdentity& client,
                        SmallCoordinator::Behaviour behaviour = {}) {
    SmallCoordinator coordinator(server, behaviour);
    auto options = options_for(client, coordinator.address());
    options.call_timeout = behaviour.old_tls ? 500ms : 5000ms;  // a refusal of the protocol is tried again
    auto answered = must(TlsLink::create(options))->renew(kSecret);
    return answered ? std::optional<ErrorCode>() : answered.error().code;
  };
  CHECK(call(ours.coordinator(), ours.desktop()) == std::nullopt);
  CHECK(call(foreign.coordinator(), ours.desktop()) == ErrorCode::denied);
  // By our own word it is no coordinator.
  CHECK(call(ours.issue("other", "DNS:other.roamstead.internal"), ours.desktop()) == ErrorCode::denied);
  auto stranger = foreign.desktop();
  stranger.ca_pem = ours.ca_pem();
  CHECK(call(ours.coordinator(), stranger) == ErrorCode::denied);
  const TestAuthority rsa(TestAuthority::Kind::rsa);
  CHECK(call(rsa.coordinator(), rsa.desktop()) == std::nullopt);
  CHECK(call(ours.coordinator(), ours.desktop(), {.old_tls = true}) != std::nullopt);
}

TEST_CASE("who cannot be reached and who does not answer costs the call's time and no more") {
  const TestAuthority authority;
  std::string nobody;
  {
    SmallCoordinator gone(authority.coordinator());
    nobody = gone.address();
  }
  const auto timed = [&](const std::string& address, bool is_there) {
    auto options = options_for(authority.desktop(), address);
    options.call_timeout = 300ms;
    auto link = must(TlsLink::create(options));
    // On a busy machine a handshake may take longer than a call here may.
    for (int attempt = 0; is_there && attempt < 50 && !link->connect(); ++attempt)
      ;
    const auto start = std::chrono::steady_clock::now();
    const auto answer = link->renew(kSecret);
    CHECK(std::chrono::steady_clock::now() - start < 5s);
    return answer.error().code;
  };
  CHECK(timed(nobody, false) == ErrorCode::unavailable);
  CHECK(timed("no-such-host.invalid:7420", false) == ErrorCode::unavailable);
  SmallCoordinator silent(authority.coordinator(), {.answers = false});
  CHECK(timed(silent.address(), true) == ErrorCode::timeout);
}

TEST_CASE("closing the link ends the calls that wait") {
  const TestAuthority authority;
  SmallCoordinator silent(authority.coordinator(), {.answers = false});
  auto link = must(TlsLink::create(options_for(authority.desktop(), silent.address())));
  must(link->connect());
  std::optional<ErrorCode> ended;
  const auto sent = link->bytes_sent();
  std::thread waiting([&, raw = link.get()] { ended = raw->renew(kSecret).error().code; });
  while (link->bytes_sent() == sent) std::this_thread::sleep_for(1ms);
  link.reset();
  waiting.join();
  CHECK(ended == ErrorCode::cancelled);
}

TEST_CASE("a key made here is certified, kept and used") {
  const TestAuthority authority, foreign;
  const auto request = must(make_key_request("desk"));
  const auto certificate = authority.certify(request.request, "desk");
  CHECK(check_identity(request.key_pem, certificate, authority.ca_pem()));
  CHECK_FALSE(check_identity(request.key_pem, certificate, foreign.ca_pem()));
  CHECK_FALSE(check_identity(must(make_key_request("desk")).key_pem, certificate, authority.ca_pem()));
  CHECK(must(make_key_request("desk")).key_pem != request.key_pem);
  CHECK_FALSE(must(is_renewal_due(certificate)));

  SmallCoordinator coordinator(authority.coordinator());
  auto& files = os::real_file_system();
  support::TemporaryDirectory directory;
  const DesktopIdentity identity{request.key_pem, certificate, authority.ca_pem()};
  const auto place = directory / "identity";
  must(save_desktop_identity(files, place, "desk", coordinator.address(), identity));
  CHECK(save_desktop_identity(files, place, "desk", "x:1", identity).error().code == ErrorCode::exists);
  auto link = must(TlsLink::create(must(load_desktop_identity(files, place))));
  CHECK(link->renew(kSecret));
  CHECK_FALSE(must(renew_identity_if_due(files, place, *link)));
}

}  // namespace
}  // namespace roamstead::wire
