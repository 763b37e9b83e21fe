// Who gets in, and who may do what: tokens, certificates, roles, rules, and the record of it all, on a real
// coordinator over real TLS.
#include <doctest/doctest.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>
#include <future>
#include <thread>

#include "common/base/file_time.h"
#include "common/wire/enrollment.h"
#include "common/wire/identity_message.h"
#include "common/wire/key_request.h"
#include "common/wire/tls.h"
#include "coordinator/server/enroller.h"
#include "coordinator/server/peer.h"
#include "coordinator/server/testing/sample_batch.h"
#include "coordinator/server/testing/site.h"
#include "tests/support/seed.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMinute_100ns = 600'000'000;

json run(Coordinator& coordinator, const json& request) {
  auto result = coordinator.execute(request, {});
  REQUIRE_MESSAGE(result.has_value(), result.error().to_string());
  return *result;
}
Error refused(Coordinator& coordinator, const Caller& caller, const json& request) {
  auto result = coordinator.execute(caller, request, {});
  REQUIRE(!result);
  return result.error();
}

wire::EnrollmentToken new_token(Coordinator& coordinator, json more = json::object()) {
  more["command"] = "token.create";
  auto made = run(coordinator, more);
  return {coordinator.address(), made["token"], made["ca_pem"]};
}

wire::TlsLinkOptions options_of(const Coordinator& coordinator, const wire::DesktopIdentity& identity) {
  wire::TlsLinkOptions options;
  options.address = coordinator.address();
  options.certificate_pem = identity.certificate_pem;
  options.key_pem = identity.key_pem;
  options.ca_pem = identity.ca_pem;
  options.call_timeout = std::chrono::seconds(5);
  return options;
}

// Waits for the log, as events are written a moment later.
json records(Coordinator& coordinator, const std::string& what) {
  auto found = json::array();
  auto shown = run(coordinator, {{"command", "audit.show"}, {"limit", 10'000}});
  for (const auto& record : shown["records"])
    if (record["what"] == what) found.push_back(record);
  return found;
}

// A client without a certificate that says what the test wants; how many bytes it got before the server
// closed.
std::size_t say_without_certificate(const Coordinator& coordinator, const std::string& ca_pem, ByteView bytes,
                                    bool* closed = nullptr) {
  asio::io_context io;
  auto context = wire::make_enrollment_context(ca_pem).value();
  asio::ssl::stream<asio::ip::tcp::socket> stream(io, *context);
  auto address = coordinator.address();
  auto colon = address.rfind(':');
  asio::error_code error;
  stream.next_layer().connect({asio::ip::make_address(address.substr(0, colon)),
                               static_cast<unsigned short>(std::stoi(address.substr(colon + 1)))},
                              error);
  REQUIRE(!error);
  stream.handshake(asio::ssl::stream_base::client, error);
  if (error) return 0;
  asio::write(stream, asio::buffer(bytes.data(), bytes.size()), error);
  std::size_t got = 0;
  std::array<char, 4096> buffer;
  timeval limit{5, 0};
  ::setsockopt(stream.next_layer().native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  for (;;) {
    auto count = stream.read_some(asio::buffer(buffer), error);
    got += count;
    if (error) break;
  }
  if (closed != nullptr) *closed = error != asio::error::would_block && error != asio::error::try_again;
  return got;
}

TEST_CASE("a desktop enrols itself by a token, opens what its pool may, and its key never left it") {
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";  // and policies by pool, as the options say nothing of them
  auto coordinator = Coordinator::start(options, {}).value();
  run(*coordinator, {{"command", "desktop-pool.create"}, {"pool", "sales"}, {"session_policy", "refuse"}});
  run(*coordinator, {{"command", "group.create"}, {"group", "everybody"}});
  run(*coordinator, {{"command", "group.add"}, {"group", "everybody"}, {"profile", "alice"}});
  auto token = new_token(*coordinator, {{"pool", "sales"}});
  auto identity = wire::enroll_desktop(token, "desk-new", "sales");
  REQUIRE_MESSAGE(identity.has_value(), identity.error().to_string());
  auto link = wire::TlsLink::create(options_of(*coordinator, *identity)).value();
  auto refusal = link->open({"alice", "", {}});
  REQUIRE(!refusal);
  CHECK(refusal.error().code == ErrorCode::denied);
  run(*coordinator, {{"command", "rule.add"}, {"pool", "sales"}, {"group", "everybody"}});
  auto session = link->open({"alice", "", {}});
  REQUIRE_MESSAGE(session.has_value(), session.error().to_string());
  // Of what the rule says only desktops of that pool profit; the pool's policy holds for its desktops.
  run(*coordinator, {{"command", "assignment.remove"}, {"desktop", "desk-b"}, {"profile", "alice"}});
  CHECK(site.link("desk-b", coordinator->address())->open({"alice", "", {}}).error().code ==
        ErrorCode::denied);
  run(*coordinator, {{"command", "desktop-pool.move"}, {"desktop", "desk-b"}, {"pool", "sales"}});
  CHECK(site.link("desk-b", coordinator->address())->open({"alice", "", {}}).error().code == ErrorCode::busy);
  run(*coordinator, {{"command", "rule.remove"}, {"pool", "sales"}, {"group", "everybody"}});
  CHECK(site.link("desk-b", coordinator->address())->open({"alice", "", {}}).error().code ==
        ErrorCode::denied);
  // What is kept of the token is a digest, and neither log nor list shows it.
  auto everything = run(*coordinator, {{"command", "token.list"}}).dump() +
                    run(*coordinator, {{"command", "audit.show"}, {"limit", 10'000}}).dump();
  CHECK(everything.find(token.token) == std::string::npos);
  std::ifstream database(site.folder / "state/state.db", std::ios::binary);
  std::string stored((std::istreambuf_iterator<char>(database)), {});
  std::ifstream journal(site.folder / "state/state.db-wal", std::ios::binary);
  stored.append((std::istreambuf_iterator<char>(journal)), {});
  CHECK(stored.find("desk-new") != std::string::npos);
  CHECK(stored.find(token.token) == std::string::npos);
  CHECK(stored.find(token.token.substr(4)) == std::string::npos);
}

TEST_CASE("a token is good once, in time, for its pool and for a name that is free") {
  Site site;
  auto coordinator = site.start();
  run(*coordinator, {{"command", "desktop-pool.create"}, {"pool", "sales"}});
  auto enroll = [](const wire::EnrollmentToken& token, const std::string& name,
                   const std::string& pool = "") {
    auto identity = wire::enroll_desktop(token, name, pool);
    return identity ? std::optional<ErrorCode>() : std::optional(identity.error().code);
  };
  auto other = new_token(*coordinator);  // as long as there is a good one, TLS lets everybody through
  auto once = new_token(*coordinator);
  CHECK(enroll(once, "desk-a") == ErrorCode::exists);  // and it is still good
  CHECK(enroll(once, "../x") == ErrorCode::invalid_argument);
  CHECK(enroll(once, "one", "sales") == ErrorCode::denied);
  CHECK(!enroll(once, "one"));
  CHECK(enroll(once, "two") == ErrorCode::denied);
  auto thrice = new_token(*coordinator, {{"uses", 3}, {"pool", "sales"}});
  for (const char* name : {"s1", "s2", "s3"}) CHECK(!enroll(thrice, name, "sales"));
  CHECK(enroll(thrice, "s4") == ErrorCode::denied);
  auto forged = other;
  forged.token.back() = forged.token.back() == '0' ? '1' : '0';
  CHECK(enroll(forged, "two") == ErrorCode::denied);
  forged.token = std::string(7000, 'x');
  CHECK(enroll(forged, "two") == ErrorCode::denied);
  forged.token.clear();
  CHECK(enroll(forged, "two") == ErrorCode::denied);
  auto tokens = run(*coordinator, {{"command", "token.list"}})["tokens"];
  for (const auto& token : tokens)
    if (token["state"] == "good") run(*coordinator, {{"command", "token.revoke"}, {"id", token["id"]}});
  // Nobody may enrol now: TLS itself asks for a certificate.
  CHECK(enroll(other, "two") == ErrorCode::denied);
  auto brief = new_token(*coordinator, {{"life_s", 1}});
  auto long_lived = new_token(*coordinator);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  CHECK(enroll(brief, "two") == ErrorCode::denied);
  CHECK(!enroll(long_lived, "two"));
  for (const auto& bad :
       {json{{"uses", 0}}, json{{"life_s", 0}}, json{{"pool", "none"}}, json{{"uses", "x"}}}) {
    auto request = bad;
    request["command"] = "token.create";
    CHECK(!coordinator->execute(request, {}));
  }
  std::string reasons;
  for (const auto& record : records(*coordinator, "desktop.enroll"))
    if (record.contains("reason")) reasons += record["reason"].get<std::string>() + "\n";
  // Of a kind that repeats the first few are written, the rest is counted.
  for (const char* reason : {"is enrolled", "is not a desktop's name", "is for pool 'default'", "is used up"})
    CHECK_MESSAGE(reasons.find(reason) != std::string::npos, reason);
}

TEST_CASE(
    "an enrolment whose answer was lost is asked for again with the same request, and costs no further use") {
  Site site;
  auto coordinator = site.start();
  auto token = new_token(*coordinator);
  wire::EnrollRequest request;
  request.token = token.token;
  request.name = "one";
  request.request = wire::make_key_request("one").value().request;
  auto ask = [&] {
    return say_without_certificate(
        *coordinator, token.ca_pem,
        wire::encode_frame(wire::FrameType::enroll, 1, wire::encode_message(request)));
  };
  constexpr std::size_t kCertificates = 800;  // two of them; a refusal has some hundred bytes
  CHECK(ask() > kCertificates);
  CHECK(ask() > kCertificates);
  CHECK(run(*coordinator, {{"command", "token.list"}})["tokens"][0]["uses_left"] == 0);
  CHECK(run(*coordinator, {{"command", "desktop.list"}})["desktops"].size() == 3);
  auto first = request;
  request.request = wire::make_key_request("one").value().request;  // another key
  CHECK(ask() < kCertificates);
  request = first;
  request.name = "two";
  CHECK(ask() < kCertificates);
  request = first;
  run(*coordinator, {{"command", "desktop.revoke"}, {"desktop", "one"}});
  CHECK(ask() < kCertificates);
}

TEST_CASE("two desktops at once with one token: one gets in") {
  Site site;
  auto coordinator = site.start();
  for (int round = 0; round < 5; ++round) {
    auto token = new_token(*coordinator);
    std::vector<std::future<bool>> tries;
    for (int i = 0; i < 4; ++i)
      tries.push_back(std::async(std::launch::async, [&, i] {
        return wire::enroll_desktop(token, "d" + std::to_string(round) + "-" + std::to_string(i)).has_value();
      }));
    int in = 0;
    for (auto& each : tries) in += each.get() ? 1 : 0;
    CHECK(in == 1);
  }
}

TEST_CASE("the coordinator must be who the token says, and a request that is none is refused") {
  Site site;
  auto coordinator = site.start();
  auto token = new_token(*coordinator);
  support::TemporaryDirectory elsewhere;
  auto other =
      identity::CertificateAuthority::open_or_create(os::real_file_system(), elsewhere / "ca").value();
  auto misled = token;
  misled.ca_pem = other.certificate_pem();
  auto refusal = wire::enroll_desktop(misled, "x");
  REQUIRE(!refusal);
  CHECK(refusal.error().code == ErrorCode::denied);

  auto key = wire::make_key_request("whoever").value();
  wire::EnrollRequest request;
  request.token = token.token;
  request.name = "x";
  auto& store = coordinator->store();
  Enroller enroller(store, coordinator->authority(), nullptr);
  auto with = [&](Bytes bytes) {
    request.request = std::move(bytes);
    auto made = enroller.enroll("192.0.2.1", request);
    return made ? std::optional<ErrorCode>() : std::optional(made.error().code);
  };
  CHECK(with({}) == ErrorCode::invalid_argument);
  CHECK(with(to_bytes("nonsense")) == ErrorCode::invalid_argument);
  auto random = support::seeded_random();
  for (int i = 0; i < 200; ++i) {  // any byte changed breaks the signature, if not the structure
    auto bad = key.request;
    bad[random() % bad.size()] ^= static_cast<std::byte>(1 + random() % 255);
    CHECK(with(bad) == ErrorCode::invalid_argument);
  }
  auto longer = key.request;
  longer.push_back(std::byte{0});
  CHECK(with(longer) == ErrorCode::invalid_argument);
  CHECK(with(Bytes(100'000)) == ErrorCode::invalid_argument);
  CHECK(!with(key.request));
  CHECK(!with(key.request));  // the same again, as if the answer had been lost
  CHECK(with(wire::make_key_request("whoever")->request) == ErrorCode::denied);
}

TEST_CASE("without a certificate one frame is read and one answer given, in time and not too often") {
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  options.server.handshake_timeout = std::chrono::milliseconds(700);
  options.server.enrolments_at_once = 5;
  options.server.enrolments_per_second = 0.01;
  auto coordinator = Coordinator::start(options, {}).value();
  auto ca = coordinator->authority().certificate_pem();
  auto frame = [](wire::FrameType type, const Bytes& payload) {
    return wire::encode_frame(type, 7, payload);
  };
  wire::EnrollRequest request;
  request.token = "rst-nothing";
  auto enroll = frame(wire::FrameType::enroll, wire::encode_message(request));
  // No token: no connection without a certificate at all.
  CHECK(say_without_certificate(*coordinator, ca, enroll) == 0);
  auto token = new_token(*coordinator);
  bool closed = false;
  // Half-open: nothing said, or half a frame.
  auto begin = std::chrono::steady_clock::now();
  CHECK(say_without_certificate(*coordinator, ca, {}, &closed) == 0);
  CHECK(closed);
  CHECK(say_without_certificate(*coordinator, ca, ByteView(enroll).first(10), &closed) == 0);
  CHECK(closed);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(4));
  // What only desktops may say, too much, and nonsense.
  CHECK(say_without_certificate(
            *coordinator, ca,
            frame(wire::FrameType::open, wire::encode_message(wire::OpenRequest{"alice", "", {}})),
            &closed) > 0);
  CHECK(closed);
  CHECK(say_without_certificate(*coordinator, ca, frame(wire::FrameType::enroll, Bytes(9000)), &closed) == 0);
  CHECK(closed);
  CHECK(say_without_certificate(*coordinator, ca, frame(wire::FrameType::enroll, to_bytes("?")), &closed) >
        0);
  // Often: the fifth try from one address was the last for a while.
  for (int i = 0; i < 4; ++i) say_without_certificate(*coordinator, ca, enroll);
  auto limited = wire::enroll_desktop(token, "late");
  REQUIRE(!limited);
  CHECK(limited.error().code == ErrorCode::busy);
  // Desktops with certificates do not notice.
  CHECK(site.link("desk-a", coordinator->address())->open({"alice", "", {}}));
}

TEST_CASE(
    "a certificate is renewed over the connection that it made; the old one stays good, until both go") {
  Site site;
  auto coordinator = site.start();
  auto first = site.identities.at("desk-a");
  auto link = site.link("desk-a", coordinator->address());
  auto session = link->open({"alice", "", {}}).value();
  auto renewed = link->renew_certificate();
  REQUIRE_MESSAGE(renewed.has_value(), renewed.error().to_string());
  CHECK(renewed->certificate_pem != first.certificate_pem);
  CHECK(renewed->key_pem != first.key_pem);
  REQUIRE(link->renew(session.session_secret));  // this connection goes on
  auto second = wire::TlsLink::create(options_of(*coordinator, *renewed)).value();
  CHECK(second->renew(session.session_secret));
  CHECK(site.link("desk-a", coordinator->address())->renew(session.session_secret));
  // However often it renews, the first one and the latest stay.
  auto latest = *renewed;
  for (std::size_t i = 0; i < StateStore::kMaxCertificates + 3; ++i)
    latest = second->renew_certificate().value();
  CHECK(wire::TlsLink::create(options_of(*coordinator, latest)).value()->renew(session.session_secret));
  CHECK(site.link("desk-a", coordinator->address())->renew(session.session_secret));
  CHECK(records(*coordinator, "desktop.renew").size() >= 5);
  run(*coordinator, {{"command", "desktop.revoke"}, {"desktop", "desk-a"}});
  for (const auto& identity : {latest, *renewed}) {
    auto refusal =
        wire::TlsLink::create(options_of(*coordinator, identity)).value()->renew(session.session_secret);
    REQUIRE(!refusal);
    CHECK(refusal.error().code == ErrorCode::denied);
  }
  // The name again, with a certificate of its own: the old ones stay refused.
  run(*coordinator, {{"command", "desktop.enroll"}, {"desktop", "desk-a"}});
  CHECK(!second->renew(session.session_secret));
}

TEST_CASE("a desktop renews in time by itself, saves both parts at once, and comes back with them") {
  Site site;
  auto coordinator = site.start();
  auto& files = os::real_file_system();
  // Certified for a minute, of which the day it was dated back to is by far the larger part.
  auto brief = identity::CertificateAuthority::open_or_create(
                   files, site.folder / "state/ca",
                   {std::chrono::hours(20 * 365 * 24), std::chrono::hours(1), std::chrono::seconds(60),
                    std::chrono::seconds(60)})
                   .value();
  auto issued = brief.issue_desktop("desk-n").value();
  REQUIRE(coordinator->store().add_desktop({"desk-n", issued.serial, now_100ns(), 0}));
  auto folder = site.folder / "desk-n";
  wire::DesktopIdentity identity{issued.key_pem, issued.certificate_pem, brief.certificate_pem()};
  REQUIRE(wire::save_desktop_identity(files, folder, "desk-n", coordinator->address(), identity));
  CHECK(wire::save_desktop_identity(files, folder, "desk-n", coordinator->address(), identity).error().code ==
        ErrorCode::exists);
  auto link = wire::TlsLink::create(wire::load_desktop_identity(files, folder).value()).value();
  auto renewed = wire::renew_identity_if_due(files, folder, *link);
  REQUIRE_MESSAGE(renewed.has_value(), renewed.error().to_string());
  CHECK(*renewed);
  auto again = wire::load_desktop_identity(files, folder).value();
  CHECK(again.certificate_pem.find("PRIVATE KEY") != std::string::npos);
  struct stat status {};
  REQUIRE(::stat((folder + "/identity.pem").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  auto fresh = wire::TlsLink::create(again).value();
  CHECK(fresh->open({"alice", "", {}}).error().message.find("not assigned") != std::string::npos);
  CHECK(!*wire::renew_identity_if_due(files, folder, *fresh));
}

TEST_CASE("an expired certificate, and one of somebody else's authority, are refused by TLS and recorded") {
  Site site;
  auto coordinator = site.start();
  auto& files = os::real_file_system();
  auto past = identity::CertificateAuthority::open_or_create(
                  files, site.folder / "state/ca",
                  {std::chrono::hours(20 * 365 * 24), std::chrono::hours(1), std::chrono::seconds(-5),
                   std::chrono::seconds(60)})
                  .value();
  auto expired = past.issue_desktop("desk-e").value();
  REQUIRE(coordinator->store().add_desktop({"desk-e", expired.serial, now_100ns(), 0}));
  support::TemporaryDirectory elsewhere;
  auto other = identity::CertificateAuthority::open_or_create(files, elsewhere / "ca").value();
  auto foreign = other.issue_desktop("desk-a").value();
  for (const auto& issued : {expired, foreign}) {
    auto link = wire::TlsLink::create(options_of(*coordinator, {issued.key_pem, issued.certificate_pem,
                                                                past.certificate_pem()}))
                    .value();
    auto refusal = link->open({"alice", "", {}});
    REQUIRE(!refusal);
    CHECK(refusal.error().code == ErrorCode::denied);
  }
  CHECK(records(*coordinator, "desktop.connect").size() >= 2);
}

TEST_CASE("the coordinator's own certificate is renewed without a connection noticing") {
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  options.server.certificate_renewal = std::chrono::milliseconds(100);
  auto coordinator = Coordinator::start(options, {}).value();
  auto serial = [&] {
    asio::io_context io;
    const auto& identity = site.identities.at("desk-a");
    auto context =
        wire::make_client_context({identity.certificate_pem, identity.key_pem, identity.ca_pem}).value();
    asio::ssl::stream<asio::ip::tcp::socket> stream(io, *context);
    auto address = coordinator->address();
    stream.next_layer().connect(
        {asio::ip::make_address("127.0.0.1"),
         static_cast<unsigned short>(std::stoi(address.substr(address.rfind(':') + 1)))});
    stream.handshake(asio::ssl::stream_base::client);
    return wire::peer_certificate(stream.native_handle()).value().serial;
  };
  auto link = site.link("desk-a", coordinator->address());
  auto session = link->open({"alice", "", {}}).value();
  auto first = serial();
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  auto second = serial();
  while (second == first && std::chrono::steady_clock::now() < until) {
    CHECK(link->renew(session.session_secret));
    second = serial();
  }
  CHECK(second != first);
  CHECK(link->renew(session.session_secret));
}

TEST_CASE("an assignment ends when it was said to") {
  Site site;
  auto coordinator = site.start();
  auto assign = [&](std::uint64_t until) {
    return coordinator->execute(
        {{"command", "assignment.add"}, {"desktop", "desk-a"}, {"profile", "alice"}, {"until_100ns", until}},
        {});
  };
  CHECK(assign(now_100ns() - 1).error().code == ErrorCode::invalid_argument);
  REQUIRE(assign(now_100ns() + kMinute_100ns));
  auto link = site.link("desk-a", coordinator->address());
  CHECK(link->open({"alice", "", {}}));
  auto profile = coordinator->repository().find_profile("alice").value();
  CHECK(*coordinator->store().is_assigned("desk-a", profile.id, now_100ns()));
  CHECK(!*coordinator->store().is_assigned("desk-a", profile.id, now_100ns() + 2 * kMinute_100ns));
  REQUIRE(assign(now_100ns() + kMinute_100ns / 120));
  std::this_thread::sleep_for(std::chrono::milliseconds(550));
  CHECK(link->open({"alice", "", {}}).error().code == ErrorCode::denied);
}

TEST_CASE("each role may do its part; a refusal names the role that is needed, and is recorded") {
  Site site;
  auto coordinator = site.start();
  const Caller viewer{"vera", Role::viewer, "test"};
  const Caller op{"otto", Role::operator_, "test"};
  const Caller admin{"ada", Role::administrator, "test"};
  json look{{"command", "desktop.list"}};
  json work{{"command", "assignment.remove"}, {"desktop", "desk-a"}, {"profile", "alice"}};
  json rule{{"command", "desktop.revoke"}, {"desktop", "desk-a"}};
  CHECK(coordinator->execute(viewer, look, {}));
  auto refusal = refused(*coordinator, viewer, work);
  CHECK(refusal.code == ErrorCode::denied);
  CHECK(refusal.message.find("role operator") != std::string::npos);
  refusal = refused(*coordinator, op, rule);
  CHECK(refusal.message.find("role administrator") != std::string::npos);
  CHECK(coordinator->execute(op, work, {}));
  CHECK(coordinator->execute(admin, rule, {}));
  auto revocations = records(*coordinator, "desktop.revoke");
  REQUIRE(revocations.size() == 2);
  CHECK(revocations[0]["who"] == "otto");
  CHECK(revocations[0]["outcome"] == "refused");
  CHECK(revocations[1]["who"] == "ada");
  CHECK(revocations[1]["about"] == "desktop desk-a");
  CHECK(revocations[1]["outcome"] == "done");
  // What failed is there too, and what only looks is not.
  CHECK(!coordinator->execute(admin, rule, {}));
  CHECK(records(*coordinator, "desktop.revoke")[2]["outcome"] == "failed");
  CHECK(records(*coordinator, "desktop.list").empty());
}

TEST_CASE(
    "who asks at the socket is known by the kernel: root and the coordinator's user rule, others by group") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  diskcontrol::Descriptor near(ends[0]), far(ends[1]);
  auto self = caller_at(near.number(), {});
  REQUIRE(self);
  CHECK(self->role == Role::administrator);
  CHECK(self->origin == "unix:uid=" + std::to_string(::geteuid()));
  if (::geteuid() != 0) return;
  // As another user: a child that connects after it has given up root. Group 65534 is Debian's nogroup.
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  auto ask_as_nobody = [&](const std::string& line) {
    int pipes[2];
    REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
    auto path = site.folder / "state/admin.sock";
    auto child = ::fork();
    if (child == 0) {
      bool changed = ::setgroups(0, nullptr) == 0 && ::setgid(65534) == 0 && ::setuid(65534) == 0;
      auto socket = diskcontrol::connect_unix(path);
      std::string answer = !changed ? "cannot change" : socket ? "" : "cannot connect";
      if (answer.empty()) {
        // Whoever has no role may be answered, and the connection closed, before this arrives: no reason to
        // die.
        (void)!::send(socket->number(), line.data(), line.size(), MSG_NOSIGNAL);
        char c = 0;
        while (::read(socket->number(), &c, 1) == 1 && c != '\n') answer += c;
      }
      (void)!::write(pipes[1], answer.data(), answer.size());
      ::_exit(0);
    }
    ::close(pipes[1]);
    std::string answer;
    char c = 0;
    while (::read(pipes[0], &c, 1) == 1) answer += c;
    ::close(pipes[0]);
    ::waitpid(child, nullptr, 0);
    return answer;
  };
  std::filesystem::permissions(site.folder.path(), std::filesystem::perms::all);
  std::filesystem::permissions(site.folder / "state", std::filesystem::perms::all);
  const std::string look = "{\"command\":\"desktop.list\"}\n";
  const std::string revoke = "{\"command\":\"desktop.revoke\",\"desktop\":\"desk-a\"}\n";
  {
    auto coordinator = Coordinator::start(options, {}).value();
    CHECK(ask_as_nobody(look) == "cannot connect");  // mode 0600
  }
  options.roles.operators = "root";
  {
    auto coordinator = Coordinator::start(options, {}).value();
    auto answer = ask_as_nobody(look);
    CHECK(answer.find("has no role") != std::string::npos);
    CHECK(answer.find("root") != std::string::npos);
    CHECK(records(*coordinator, "admin.connect").size() == 1);
  }
  options.roles.viewers = "nogroup";
  {
    auto coordinator = Coordinator::start(options, {}).value();
    CHECK(ask_as_nobody(look).find("\"desktops\"") != std::string::npos);
    CHECK(ask_as_nobody(revoke).find("needs the role administrator") != std::string::npos);
  }
}

TEST_CASE("openings and refusals are in the audit log, which verifies, and shows it when it does not") {
  Site site;
  {
    auto coordinator = site.start();
    auto link = site.link("desk-a", coordinator->address());
    REQUIRE(link->open({"alice", "", {}}));
    CHECK(!link->open({"bob", "", {}}));
    auto opened = records(*coordinator, "session.open");
    REQUIRE(opened.size() == 2);
    CHECK(opened[0]["outcome"] == "done");
    CHECK(opened[0]["who"] == "desktop desk-a");
    CHECK(opened[1]["outcome"] == "refused");
    CHECK(run(*coordinator, {{"command", "audit.show"}, {"desktop", "desk-b"}})["records"].size() == 2);
    CHECK(run(*coordinator, {{"command", "audit.verify"}})["whole"] == true);
  }
  auto path = site.folder / "state/audit/audit-00000001.log";
  std::ifstream in(path);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  auto at = text.find("\"desk-b\"");
  REQUIRE(at == std::string::npos);  // a field's name and value are one text each
  at = text.find("desktop desk-b");
  REQUIRE(at != std::string::npos);
  text[at + 13] = 'z';
  std::ofstream(path) << text;
  auto coordinator = site.start();
  auto verified = run(*coordinator, {{"command", "audit.verify"}});
  CHECK(verified["whole"] == false);
  CHECK(verified["first_break"]["line"] ==
        1 + std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
}

TEST_CASE("a desktop that asks too much is slowed down, over all its connections, and nobody else is") {
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  options.server.requests_per_second = 100;
  options.server.requests_at_once = 20;
  auto coordinator = Coordinator::start(options, {}).value();
  auto greedy = site.link("desk-a", coordinator->address());
  auto second = site.link("desk-a", coordinator->address());
  auto session = greedy->open({"alice", "", {}}).value();
  auto begin = std::chrono::steady_clock::now();
  auto ask = [&](wire::TlsLink& link) {
    for (int i = 0; i < 50; ++i) CHECK(link.renew(session.session_secret));
  };
  std::thread other([&] { ask(*second); });
  auto modest = site.link("desk-b", coordinator->address());
  auto modest_begin = std::chrono::steady_clock::now();
  CHECK(modest->renew(session.session_secret).error().code == ErrorCode::denied);
  auto modest_took = std::chrono::steady_clock::now() - modest_begin;
  ask(*greedy);
  other.join();
  // 101 requests, of which 20 at once: the rest takes 0.8 s.
  CHECK(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(700));
  CHECK(modest_took < std::chrono::milliseconds(700));
}

TEST_CASE("no ticket is given out: every connection shows its certificate anew") {
  Site site;
  auto coordinator = site.start();
  const auto& identity = site.identities.at("desk-a");
  std::ofstream(site.folder / "cert.pem") << identity.certificate_pem;
  std::ofstream(site.folder / "key.pem") << identity.key_pem;
  auto command = "(sleep 0.5) | timeout 5 openssl s_client -connect " + coordinator->address() + " -cert " +
                 (site.folder / "cert.pem") + " -key " + (site.folder / "key.pem") + " -sess_out " +
                 (site.folder / "ticket") + " >/dev/null 2>&1";
  (void)!std::system(command.c_str());
  CHECK(!std::filesystem::exists(site.folder / "ticket"));
}

}  // namespace
}  // namespace roamstead::server
