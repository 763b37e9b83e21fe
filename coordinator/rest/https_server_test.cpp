// The server against clients that take their time, come in crowds, or stop half-way; and the whole interface
// with desktops' sessions and forks.
#include "coordinator/rest/https_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/ssl/context.hpp>
#include <atomic>
#include <csignal>
#include <thread>

#include "common/base/host_port.h"
#include "common/wire/key_request.h"
#include "common/wire/tls.h"
#include "coordinator/rest/problem.h"
#include "coordinator/server/testing/sample_batch.h"
#include "coordinator/server/testing/site.h"
#include "tests/support/command_output.h"
#include "tests/support/must.h"

namespace roamstead::rest {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using support::must;

// A server that answers "hello", and the identities of clients.
struct Hall {
  support::TemporaryDirectory folder;
  identity::CertificateAuthority authority =
      must(identity::CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca"));
  identity::Issued client = must(authority.issue_desktop("somebody"));
  std::unique_ptr<asio::ssl::context> client_context =
      must(wire::make_client_context({client.certificate_pem, client.key_pem, authority.certificate_pem()}));
  std::atomic<int> answered{0}, refused{0};
  std::atomic<bool> good{true};
  std::unique_ptr<HttpsServer> server;

  explicit Hall(HttpsLimits limits) {
    HttpsServer::Handlers handlers;
    handlers.context = [this]() -> Result<std::shared_ptr<SSL_CTX>> {
      RS_TRY(auto issued, authority.issue_server({wire::kCoordinatorName}));
      RS_TRY(auto made, wire::make_server_context(
                            {issued.certificate_pem, issued.key_pem, authority.certificate_pem()}));
      std::shared_ptr<asio::ssl::context> owner(std::move(made));
      return std::shared_ptr<SSL_CTX>(owner, owner->native_handle());
    };
    handlers.admit = [this](SSL* ssl, const std::string& address) -> Result<HttpsClient> {
      RS_TRY(auto peer, wire::peer_certificate(ssl));
      if (!good) return fail(ErrorCode::denied, "not today");
      return HttpsClient{peer.common_name, address};
    };
    handlers.answer = [this](const HttpsClient& who, SSL*, const HttpRequest& request) {
      ++answered;
      HttpResponse response;
      response.body = "hello " + who.name;
      if (request.target == "/long") response.body.assign(8u << 20, 'x');
      if (request.target == "/stream")
        response.stream = [](ResponseSink& sink) {
          while (sink.is_open() && sink.write(":\n")) std::this_thread::sleep_for(5ms);
        };
      return response;
    };
    handlers.refuse = [](const HttpRefusal& refusal) { return problem_response(refusal); };
    handlers.note_refused = [this](const std::string&, const Error&) { ++refused; };
    server = must(HttpsServer::start("127.0.0.1:0", std::move(handlers), limits));
  }
};

class Client {
 public:
  // Only a TCP connection until shake().
  explicit Client(Hall& hall) : hall_(hall) {
    std::signal(SIGPIPE, SIG_IGN);
    const auto at = must(parse_host_port(hall.server->address()));
    descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(at.port);
    ::inet_pton(AF_INET, at.host.c_str(), &address.sin_addr);
    timeval limit{10, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() {
    SSL_free(ssl_);
    ::close(descriptor_);
  }
  bool shake() {
    ssl_ = SSL_new(hall_.client_context->native_handle());
    SSL_set_fd(ssl_, descriptor_);
    return SSL_connect(ssl_) == 1;
  }
  bool say(const std::string& text) {
    return SSL_write(ssl_, text.data(), static_cast<int>(text.size())) == static_cast<int>(text.size());
  }
  // What comes until the server closes, or `most` bytes.
  std::string hear(std::size_t most = 1u << 20) {
    std::string heard;
    char buffer[4096];
    while (heard.size() < most) {
      const int count = SSL_read(ssl_, buffer, sizeof buffer);
      if (count <= 0) break;
      heard.append(buffer, static_cast<std::size_t>(count));
    }
    return heard;
  }
  // Whether the server has closed without a word.
  bool is_cut_off() {
    char byte = 0;
    return ::recv(descriptor_, &byte, 1, 0) <= 0;
  }

 private:
  Hall& hall_;
  int descriptor_ = -1;
  SSL* ssl_ = nullptr;
};

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

HttpsLimits strict() {
  HttpsLimits limits;
  limits.handshake = 300ms;
  limits.idle = 300ms;
  limits.request = 300ms;
  limits.answer = 300ms;
  return limits;
}

TEST_CASE("who takes too long is cut off, at every step, and others are answered meanwhile") {
  Hall hall(strict());
  Client silent(hall);  // never begins its handshake
  Client idle(hall), drop_by_drop(hall), half_body(hall), deaf(hall), good(hall);
  REQUIRE(idle.shake());
  REQUIRE(drop_by_drop.shake());
  REQUIRE(half_body.shake());
  REQUIRE(deaf.shake());
  REQUIRE(good.shake());
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(half_body.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"));
  REQUIRE(deaf.say("GET /long HTTP/1.1\r\nHost: x\r\n\r\n"));
  REQUIRE(good.say(kGet));
  CHECK(good.hear(20).rfind("HTTP/1.1 200", 0) == 0);
  // A byte every 20 ms would be a request for hours; what counts is the whole.
  REQUIRE(drop_by_drop.say("GET / HTTP/1.1\r\nHost: x\r\nX: "));
  for (int i = 0; i < 25 && drop_by_drop.say("x"); ++i) std::this_thread::sleep_for(20ms);
  CHECK(drop_by_drop.hear().rfind("HTTP/1.1 408", 0) == 0);
  CHECK(half_body.hear().rfind("HTTP/1.1 408", 0) == 0);
  CHECK(idle.hear().empty());
  CHECK(silent.is_cut_off());
  CHECK(deaf.hear(16u << 20).size() < (8u << 20));
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(hall.answered == 2);
}

TEST_CASE("crowds are kept out, and their places are free again when they have gone") {
  auto limits = strict();
  limits.idle = 5s;
  limits.handshake = 5s;
  limits.connections = 6;
  limits.handshakes_of_address = 3;
  limits.connections_of_client = 2;
  limits.requests_of_connection = 3;
  Hall hall(limits);
  {
    std::vector<std::unique_ptr<Client>> strangers;
    for (int i = 0; i < 3; ++i) strangers.push_back(std::make_unique<Client>(hall));
    Client one_too_many(hall);
    CHECK(one_too_many.is_cut_off());
  }
  auto first = std::make_unique<Client>(hall), second = std::make_unique<Client>(hall);
  auto enters = [&](std::unique_ptr<Client>& client) {
    for (int i = 0; i < 100; ++i) {  // until the places of those before are free
      client = std::make_unique<Client>(hall);
      if (client->shake() && client->say(kGet) && client->hear(10).rfind("HTTP/1.1 2", 0) == 0) return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  };
  REQUIRE(enters(first));
  REQUIRE(enters(second));
  Client third(hall);
  REQUIRE(third.shake());
  CHECK(third.hear().rfind("HTTP/1.1 429", 0) == 0);
  // A connection ends after so many requests, each answered, and says so.
  REQUIRE(first->say(std::string(kGet) + kGet + kGet));
  const auto heard = first->hear();
  CHECK(heard.find("Connection: close") != std::string::npos);
  CHECK(heard.find("hello somebody", heard.find("hello somebody") + 1) != std::string::npos);
  REQUIRE(enters(first));
  hall.good = false;
  Client unwelcome(hall);
  REQUIRE(unwelcome.shake());
  CHECK(unwelcome.hear().rfind("HTTP/1.1 403", 0) == 0);
  CHECK(hall.refused >= 1);
}

TEST_CASE("clients that vanish at any byte leave nothing behind, and stopping does not wait for streams") {
  Hall hall(HttpsLimits{});
  const std::string request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  for (std::size_t end = 0; end < request.size(); end += 7) {
    Client client(hall);
    if (end > 0) {
      REQUIRE(client.shake());
      REQUIRE(client.say(request.substr(0, end)));
    }
  }
  Client listener(hall);
  REQUIRE(listener.shake());
  REQUIRE(listener.say("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(listener.hear(200).find("200 OK") != std::string::npos);
  Client idle(hall);
  REQUIRE(idle.shake());
  const auto begin = std::chrono::steady_clock::now();
  hall.server->stop();
  CHECK(std::chrono::steady_clock::now() - begin < 3s);
}

TEST_CASE("sessions and forks over REST; an administrator's certificate is none for the desktops' port") {
  server::Site site;
  server::CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  options.sessions.hand_over_wait = 1ms;
  options.rest.listen = "127.0.0.1:0";
  auto coordinator = must(server::Coordinator::start(options, {}));
  auto a = site.link("desk-a", coordinator->address());
  auto b = site.link("desk-b", coordinator->address());
  // Two forks: what desk-a saves after it lost the profile, twice.
  std::vector<std::uint64_t> forks;
  for (const char* content : {"first", "second"}) {
    auto early = must(a->open({"alice", "", {}}));
    must(b->open({"alice", "", {}}));
    server::SampleBatch late(early.incarnation, 1, {{content, content}});
    auto reply = must(a->commit(early.session_secret, late.batch, late));
    REQUIRE(reply.forked);
    forks.push_back(reply.version);
  }
  auto made = must(wire::make_key_request("ada"));
  std::ofstream(site.folder / "request.der", std::ios::binary)
      .write(reinterpret_cast<const char*>(made.request.data()),
             static_cast<std::streamsize>(made.request.size()));
  const auto pem = support::output_of("openssl req -inform DER -in " + (site.folder / "request.der"));
  auto issued = must(coordinator->execute({{"command", "administrator.certify"},
                                           {"administrator", "ada"},
                                           {"role", "operator"},
                                           {"request_pem", pem}},
                                          {}));
  std::filesystem::create_directory(site.folder / "ada");
  std::ofstream(site.folder / "ada/key.pem") << made.key_pem;
  std::ofstream(site.folder / "ada/cert.pem") << issued["certificate_pem"].get<std::string>();
  std::ofstream(site.folder / "ada/ca.pem") << issued["ca_pem"].get<std::string>();
  if (!support::run_quietly("/usr/bin/python3 -c 'import jsonschema'")) {
    std::cout << "skipped: python3-jsonschema is not installed\n";
  } else {
    const std::string script =
        std::string(std::getenv("ROAMSTEAD_SOURCE_DIR")) + "/tests/rest/session_client";
    CHECK(support::run(script + " " + coordinator->rest_address() + " " + (site.folder / "ada") + " " +
                       std::to_string(forks[0]) + " " + std::to_string(forks[1])));
  }
  auto identity = site.identities.at("desk-a");
  identity.address = coordinator->address();
  identity.key_pem = made.key_pem;
  identity.certificate_pem = issued["certificate_pem"];
  identity.call_timeout = 500ms;
  auto refused = must(wire::TlsLink::create(identity))->open({"alice", "", {}});
  CHECK(!refused);
  CHECK(coordinator->server().connections() == 2);
}

}  // namespace
}  // namespace roamstead::rest
