// Over loopback: real TLS, real sockets, hostile and broken peers.
#include "coordinator/server/server.h"

#include <doctest/doctest.h>

#include <future>

#include "common/wire/batch_stream.h"
#include "common/wire/tls_link.h"
#include "coordinator/server/spool.h"
#include "coordinator/server/testing/loopback.h"

namespace roamstead::server {
namespace {

using wire::TlsLink;

TEST_CASE("a desktop opens, lists, reads, commits and closes") {
  Loopback loop;
  auto link = loop.link("desk-a");
  auto session = link->open({"alice", "Users/alice", {}});
  REQUIRE_MESSAGE(session.has_value(), session.error().to_string());
  CHECK(session->version == 1);
  CHECK(session->root.is_directory());
  auto part = link->list(session->session_secret, {}, "");
  REQUIRE(part);
  CHECK(part->entries.size() == 2);
  auto content = link->read(session->session_secret, path_of("a.txt"), "", 0, 100);
  REQUIRE(content);
  CHECK(as_text(*content) == "first");
  CHECK(as_text(*link->read(session->session_secret, path_of("a.txt"), "", 2, 2)) == "rs");
  CHECK(link->read(session->session_secret, path_of("a.txt"), "", 5, 1)->empty());
  SampleBatch batch(session->incarnation, 1, {{"new.bin", std::string(3'000'000, 'n')}, {"empty", ""}});
  auto reply = link->commit(session->session_secret, batch.batch, batch);
  REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
  CHECK(reply->version == 2);
  CHECK(!reply->forked);
  CHECK(link->renew(session->session_secret));
  CHECK(link->close(session->session_secret));
  CHECK(link->bytes_sent() > 1000);
  CHECK(link->bytes_received() > 1000);
  auto again = link->open({"alice", "Users/alice", {}});
  REQUIRE(again);
  CHECK(again->version == 2);
  CHECK(link->read(again->session_secret, path_of("new.bin"), "", 2'900'000, 200'000)->size() == 100'000);
}

TEST_CASE("many folders and files come in one answer, in order, as many as fit; what is missing is said") {
  Loopback loop;
  std::map<std::string, std::string> files;
  for (int i = 0; i < 40; ++i)
    files["f" + std::to_string(i)] = std::string(100'000 + i, static_cast<char>('a' + i % 26));
  files["large"] = std::string(300'000, 'L');
  files["empty"] = "";
  loop.add_profile("many", files);
  auto link = loop.link("desk-a");
  auto session = link->open({"many", "", {}}).value();
  std::vector<wire::FetchItem> items = {{{}, true},
                                        {path_of("missing"), false},
                                        {path_of("empty"), false},
                                        {path_of("f1"), true},
                                        {path_of("large"), false},
                                        {{}, false}};
  for (int i = 0; i < 40; ++i) items.push_back({path_of("f" + std::to_string(i)), false});
  std::size_t done = 0, answers = 0;
  while (done < items.size()) {
    auto fetched =
        link->fetch(session.session_secret, {items.begin() + static_cast<std::ptrdiff_t>(done), items.end()});
    REQUIRE_MESSAGE(fetched.has_value(), fetched.error().to_string());
    ++answers;
    for (auto& one : *fetched) {
      const auto& item = items[done++];
      using Kind = wire::Fetched::Kind;
      if (item.path.is_root() && item.directory) {
        CHECK(one.kind == Kind::directory);
        CHECK(one.part.entries.size() == 42);
      } else if (item.directory || item.path.is_root() || item.path.text() == "missing") {
        CHECK(one.kind == Kind::absent);
      } else {
        CHECK(one.kind == Kind::file);
        const auto& content = files[item.path.text()];
        CHECK(one.size_bytes == content.size());
        CHECK(as_text(one.content) == content.substr(0, wire::kFetchFileBytes));
      }
    }
  }
  CHECK(answers >= 4);
  CHECK(answers <= 8);
  CHECK(!link->fetch(session.session_secret, {}));
  CHECK(!link->fetch(session.session_secret, std::vector<wire::FetchItem>(wire::kMostFetchItems + 1)));
  CHECK(link->fetch(Guid::random(), items).error().code == ErrorCode::denied);
}

TEST_CASE("many threads share one link") {
  Loopback loop;
  std::map<std::string, std::string> files;
  for (int i = 0; i < 50; ++i)
    files["f" + std::to_string(i)] = std::string(1000 + i * 3000, static_cast<char>('A' + i % 26));
  loop.add_profile("many", files);
  auto link = loop.link("desk-a");
  auto session = link->open({"many", "", {}}).value();
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto name = "f" + std::to_string((i * 7 + t) % 50);
        auto content = link->read(session.session_secret, path_of(name), "", 0, wire::kMaxReadBytes);
        if (content && as_text(*content) == files[name]) ++good;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 400);
  CHECK(loop.server->connections() == 1);
}

TEST_CASE("a batch larger than every window arrives whole") {
  Loopback loop;
  auto link = loop.link("desk-a");
  auto session = link->open({"alice", "", {}}).value();
  std::string noise(20'000'000, 0);
  std::minstd_rand random(1);
  for (auto& c : noise) c = static_cast<char>(random());
  SampleBatch batch(session.incarnation, 1, {{"noise", noise}, {"small", "s"}});
  auto reply = link->commit(session.session_secret, batch.batch, batch);
  REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
  auto again = link->open({"alice", "", {}}).value();
  std::string back;
  while (back.size() < noise.size())
    back += as_text(
        link->read(again.session_secret, path_of("noise"), "", back.size(), wire::kMaxReadBytes).value());
  CHECK(back == noise);
  CHECK(as_text(*link->read(again.session_secret, path_of("small"), "", 0, 10)) == "s");
}

TEST_CASE("the link comes back when the coordinator does, and sessions go on") {
  Loopback loop;
  auto link = loop.link("desk-a");
  auto session = link->open({"alice", "", {}}).value();
  SampleBatch batch(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(link->commit(session.session_secret, batch.batch, batch));
  loop.restart();
  CHECK(as_text(*link->read(session.session_secret, path_of("a.txt"), "", 0, 10)) == "first");
  CHECK(link->commit(session.session_secret, batch.batch, batch)->version == 2);  // sent again: recognised
  SampleBatch next(session.incarnation, 2, {{"x", "2"}});
  CHECK(link->commit(session.session_secret, next.batch, next)->version == 3);
  // Down for a while, calls wait.
  auto down = loop.stop();
  std::thread reader([&] { CHECK(link->read(session.session_secret, path_of("a.txt"), "", 0, 10)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  loop.start(down);
  reader.join();
}

TEST_CASE(
    "calls end with 'unavailable' when the coordinator stays away, and with 'cancelled' when the link goes") {
  Loopback loop;
  auto options = loop.identity("desk-a");
  options.call_timeout = std::chrono::milliseconds(200);
  auto link = TlsLink::create(options).value();
  auto session = link->open({"alice", "", {}}).value();
  loop.stop();
  auto refused = link->renew(session.session_secret);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::unavailable);
}

TEST_CASE("a batch cut in the middle leaves nothing, and is sent again by itself") {
  Loopback loop;
  auto options = loop.identity("desk-a");
  Relay relay(loop.server->address());
  options.address = relay.address();
  auto link = TlsLink::create(options).value();
  auto session = link->open({"alice", "", {}}).value();
  std::string noise(6'000'000, 0);
  std::minstd_rand random(2);
  for (auto& c : noise) c = static_cast<char>(random());
  SampleBatch batch(session.incarnation, 1, {{"noise", noise}});
  relay.cut_after(3'000'000);
  auto reply = link->commit(session.session_secret, batch.batch, batch);
  REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
  CHECK(relay.cuts() == 1);
  CHECK(reply->version == 2);
  CHECK(loop.repository.find_profile("alice")->head == 2);
}

TEST_CASE("an answer lost on the way is asked for again and the batch is not committed twice") {
  Loopback loop;
  auto options = loop.identity("desk-a");
  Relay relay(loop.server->address());
  options.address = relay.address();
  auto link = TlsLink::create(options).value();
  auto session = link->open({"alice", "", {}}).value();
  loop.repository.before_commit = [&]() -> Result<void> {
    relay.cut_now();
    return {};
  };
  SampleBatch batch(session.incarnation, 1, {{"x", "1"}});
  auto reply = link->commit(session.session_secret, batch.batch, batch);
  REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
  CHECK(reply->version == 2);
  CHECK(!reply->forked);
  CHECK(loop.repository.versions(loop.alice.id)->size() == 2);
}

TEST_CASE("one desktop cannot use another's secret, nor read beyond its version") {
  Loopback loop;
  loop.session_options.policy_of = [](const std::string&) { return SessionPolicy::refuse; };
  loop.restart();
  auto a = loop.link("desk-a");
  auto b = loop.link("desk-b");
  auto session = a->open({"alice", "", {}}).value();
  auto stolen = b->read(session.session_secret, path_of("a.txt"), "", 0, 10);
  REQUIRE(!stolen);
  CHECK(stolen.error().code == ErrorCode::denied);
  SampleBatch batch(session.incarnation, 1, {{"x", "1"}});
  auto forged = b->commit(session.session_secret, batch.batch, batch);
  REQUIRE(!forged);
  CHECK(forged.error().code == ErrorCode::denied);
  auto busy = b->open({"alice", "", {}});
  REQUIRE(!busy);
  CHECK(busy.error().code == ErrorCode::busy);
  auto unassigned = loop.link("desk-c")->open({"alice", "", {}});
  REQUIRE(!unassigned);
  CHECK(unassigned.error().code == ErrorCode::denied);
}

TEST_CASE("a revoked desktop is cut off at once and does not come back") {
  Loopback loop;
  auto link = loop.link("desk-a");
  auto session = link->open({"alice", "", {}}).value();
  REQUIRE(loop.store->revoke_desktop("desk-a", 1));
  loop.server->disconnect("desk-a");
  // A call that is under way before the cut may still be answered; none after it is.
  ErrorCode code{};
  for (int i = 0; i < 50; ++i) {
    auto refused = link->renew(session.session_secret);
    if (refused) continue;
    code = refused.error().code;
    break;
  }
  CHECK(code == ErrorCode::denied);
}

TEST_CASE("a desktop that another authority certified, or nobody enrolled here, is refused") {
  Loopback loop;
  support::TemporaryDirectory elsewhere;
  auto other =
      identity::CertificateAuthority::open_or_create(os::real_file_system(), elsewhere / "ca").value();
  auto forged = other.issue_desktop("desk-a").value();
  auto options = loop.identity("desk-a");
  options.certificate_pem = forged.certificate_pem;
  options.key_pem = forged.key_pem;
  auto refused = TlsLink::create(options).value()->open({"alice", "", {}});
  REQUIRE(!refused);
  CHECK_MESSAGE(refused.error().code == ErrorCode::denied, refused.error().to_string());
  // And the desktop refuses a coordinator that its own authority did not certify.
  options = loop.identity("desk-a");
  options.ca_pem = other.certificate_pem();
  refused = TlsLink::create(options).value()->open({"alice", "", {}});
  REQUIRE(!refused);
  CHECK_MESSAGE(refused.error().code == ErrorCode::denied, refused.error().to_string());
  // Ours, but unknown to the state store.
  auto stranger = loop.authority().issue_desktop("desk-z").value();
  options = loop.identity("desk-a");
  options.certificate_pem = stranger.certificate_pem;
  options.key_pem = stranger.key_pem;
  refused = TlsLink::create(options).value()->open({"alice", "", {}});
  REQUIRE(!refused);
  CHECK_MESSAGE(refused.error().code == ErrorCode::denied, refused.error().to_string());
  for (int i = 0; i < 100 && loop.server->connections() != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(loop.server->connections() == 0);
}

TEST_CASE("older protocols and peers without a certificate are refused") {
  Loopback loop;
  loop.write_identity("desk-a");
  auto client =
      "openssl s_client -connect " + loop.server->address() + " -CAfile " + (loop.folder / "desk-a/ca.pem");
  auto with_certificate =
      client + " -cert " + (loop.folder / "desk-a/cert.pem") + " -key " + (loop.folder / "desk-a/key.pem");
  auto ask = [](const std::string& command) {
    return std::system(("echo | timeout 5 " + command + " >/dev/null 2>&1").c_str()) == 0;
  };
  CHECK(ask(with_certificate + " -tls1_3 -verify_return_error"));
  CHECK(!ask(with_certificate + " -tls1_2"));
  CHECK(!ask(with_certificate + " -tls1_1"));
  CHECK(loop.handshake_refused(client));
}

TEST_CASE("garbage instead of TLS, and a peer that says nothing, cost a connection and no more") {
  Loopback loop;
  std::vector<RawPeer> silent;
  for (int i = 0; i < 20; ++i) silent.emplace_back(loop.server->address());
  auto random = support::seeded_random();
  for (int i = 0; i < 20; ++i) {
    RawPeer peer(loop.server->address());
    Bytes noise(1 + random() % 5000);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    peer.send(noise);
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  auto link = loop.link("desk-a");
  CHECK(link->open({"alice", "", {}}));
  for (auto& peer : silent) CHECK(peer.closed_within(std::chrono::seconds(5)));  // handshake timeout
}

TEST_CASE("a certified desktop that breaks the protocol is told so and cut off; others go on") {
  Loopback loop;
  auto link = loop.link("desk-b");
  auto session = link->open({"alice", "", {}}).value();
  auto hello = wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}));
  auto header = [](std::uint32_t size, std::uint8_t type) {
    Bytes bytes(wire::kFrameHeaderBytes);
    store_le<std::uint32_t>(bytes, 0, size);
    store_le<std::uint8_t>(bytes, 4, type);
    return bytes;
  };
  SUBCASE("a frame of 4 GB") {
    RawTlsPeer peer(loop, "desk-a", {hello, header(0xffffffff, 8)});
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  SUBCASE("a first frame that is no greeting") {
    RawTlsPeer peer(loop, "desk-a", {header(100, 6), Bytes(100)});
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  SUBCASE("a greeting of a megabyte") {
    RawTlsPeer peer(loop, "desk-a", {header(1 << 20, 1)});
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  SUBCASE("a frame that never ends") {
    RawTlsPeer peer(loop, "desk-a", {hello, header(1000, 8), Bytes(10)});
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  SUBCASE("an answer instead of a question") {
    RawTlsPeer peer(loop, "desk-a", {hello, header(0, 12)});
    CHECK(peer.closed_within(std::chrono::seconds(5)));
  }
  SUBCASE("noise") {
    auto random = support::seeded_random();
    for (int i = 0; i < 10; ++i) {
      Bytes noise(2000);
      for (auto& byte : noise) byte = static_cast<std::byte>(random());
      RawTlsPeer peer(loop, "desk-a", {hello, noise});
      CHECK(peer.closed_within(std::chrono::seconds(5)));
    }
  }
  SUBCASE("more batches at once than are allowed") {
    std::vector<Bytes> frames{hello};
    for (std::uint64_t id = 1; id < 10; ++id)
      frames.push_back(wire::encode_frame(
          wire::FrameType::batch_begin, id,
          wire::encode_message(wire::BatchBegin{session.session_secret, Guid::random(), 1, 10, 10})));
    RawTlsPeer peer(loop, "desk-a", frames);
    // Refused as another's secret, or for their number; either way nothing is committed.
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK(loop.repository.find_profile("alice")->head == 1);
  }
  CHECK(link->renew(session.session_secret));
}

TEST_CASE("connections that do not greet count as their desktop's, and end when it is revoked") {
  Loopback loop;
  auto hello = wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}));
  {
    std::vector<std::unique_ptr<RawTlsPeer>> silent;
    for (int i = 0; i < 12; ++i)
      silent.push_back(std::make_unique<RawTlsPeer>(loop, "desk-a", std::vector<Bytes>{}));
    auto wait = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (loop.server->connections() < 8 && std::chrono::steady_clock::now() < wait)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK(loop.server->connections() == 8);
    CHECK(loop.link("desk-b")->open({"alice", "", {}}));
    REQUIRE(loop.store->revoke_desktop("desk-a", 1));
    loop.server->disconnect("desk-a");
    for (auto& peer : silent) CHECK(peer->closed_within(std::chrono::seconds(5)));
  }
}

TEST_CASE(
    "a desktop that asks for much and reads nothing fills its own share of memory, and starves nobody") {
  Loopback loop;
  constexpr std::uint64_t kShare = 2u << 20;
  loop.adjust_server = [](ServerOptions& options) {
    options.flight_bytes = 6u << 20;
    options.flight_bytes_per_desktop = kShare;
    options.stall_timeout = std::chrono::seconds(60);
  };
  // compressed, answers would be small enough to leave
  auto random = support::seeded_random();
  std::string big(wire::kMaxReadBytes, '\0');
  for (auto& c : big) c = static_cast<char>(random());
  loop.add_profile("bob", {{"big", big}});
  loop.restart();
  auto greedy = loop.link("desk-a")->open({"bob", "", {}}).value();
  std::vector<Bytes> frames{
      wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}))};
  for (std::uint64_t id = 1; id <= 60; ++id)
    frames.push_back(
        wire::encode_frame(wire::FrameType::read, id,
                           wire::encode_message(wire::ReadRequest{greedy.session_secret, path_of("big"), "",
                                                                  0, wire::kMaxReadBytes})));
  constexpr std::size_t kPeers = 6;
  std::vector<std::unique_ptr<RawTlsPeer>> peers;
  for (std::size_t i = 0; i < kPeers; ++i)
    peers.push_back(std::make_unique<RawTlsPeer>(loop, "desk-a", frames));
  std::atomic<bool> done{false};
  std::uint64_t most = 0;
  std::thread watch([&] {
    while (!done) {
      most = std::max(most, loop.server->flight_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  auto has_its_share = [&] {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (; std::chrono::steady_clock::now() < until;
         std::this_thread::sleep_for(std::chrono::milliseconds(2)))
      if (loop.server->flight_bytes() >= kShare) return true;
    return false;
  };
  CHECK(has_its_share());
  // Meanwhile another desktop logs in, loads, saves and logs out.
  auto honest = loop.link("desk-b");
  auto session = honest->open({"alice", "", {}}).value();
  for (int i = 0; i < 50; ++i)
    CHECK(as_text(*honest->read(session.session_secret, path_of("a.txt"), "", 0, 10)) == "first");
  SampleBatch batch(session.incarnation, 1, {{"x", std::string(3u << 20, 'x')}});
  CHECK(honest->commit(session.session_secret, batch.batch, batch)->version == 2);
  CHECK(honest->close(session.session_secret));
  CHECK(has_its_share());  // the greedy one still waits for its answers to leave
  done = true;
  watch.join();
  // Each connection may be one answer beyond its desktop's share.
  CHECK(most <= 6u * (1u << 20) + (kPeers + 2) * 2 * wire::kMaxReadBytes);
  peers.clear();
  const auto wait = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (loop.server->flight_bytes() != 0 && std::chrono::steady_clock::now() < wait)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(loop.server->flight_bytes() == 0);  // nothing is counted for who is gone
}

TEST_CASE("a desktop that announces and abandons batches without end, or sends empty parts, is held back") {
  Loopback loop;
  auto link = loop.link("desk-b");
  auto session = link->open({"alice", "", {}}).value();
  auto hello = wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}));
  auto begin = [&](std::uint64_t id) {
    return wire::encode_frame(
        wire::FrameType::batch_begin, id,
        wire::encode_message(wire::BatchBegin{session.session_secret, session.incarnation, 1, 100, 0}));
  };
  std::vector<Bytes> frames{hello};
  SUBCASE("abandoned") {
    for (std::uint64_t id = 1; id <= 2000; ++id) {
      frames.push_back(begin(id));
      frames.push_back(wire::encode_frame(wire::FrameType::batch_abandon, id, {}));
    }
    RawTlsPeer peer(loop, "desk-b", frames);
    CHECK_FALSE(peer.closed_within(std::chrono::milliseconds(500)));
  }
  SUBCASE("empty parts while the batch before commits") {
    std::promise<void> committing, go_on;
    loop.repository.before_commit = [&]() -> Result<void> {
      committing.set_value();
      go_on.get_future().wait();
      return {};
    };
    SampleBatch batch(session.incarnation, 1, {{"x", "1"}});
    auto encoded = wire::encode_batch(batch.batch).value();
    auto whole = encoded;
    whole.push_back(std::byte{'1'});
    frames.push_back(
        wire::encode_frame(wire::FrameType::batch_begin, 1,
                           wire::encode_message(wire::BatchBegin{session.session_secret, session.incarnation,
                                                                 1, encoded.size(), 1})));
    frames.push_back(wire::encode_frame(wire::FrameType::batch_part, 1, whole));
    Bytes flood;
    for (int i = 0; i < 5000; ++i) {
      auto part = wire::encode_frame(wire::FrameType::batch_part, 1, {});
      flood.insert(flood.end(), part.begin(), part.end());
    }
    RawTlsPeer peer(loop, "desk-b", frames);
    REQUIRE(committing.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
    peer.send(flood);
    CHECK(peer.closed_within(std::chrono::seconds(5)));
    go_on.set_value();
  }
  CHECK(link->renew(session.session_secret));
}

TEST_CASE(
    "a desktop that asks and never reads the answers is cut off; its share of memory is bounded, others are "
    "served") {
  Loopback loop;
  std::string noise(900'000, 0);
  std::minstd_rand random(5);
  for (auto& c : noise) c = static_cast<char>(random());
  loop.add_profile("large", {{"noise", noise}});
  auto link = loop.link("desk-a");
  auto session = link->open({"large", "", {}}).value();
  auto other = loop.link("desk-b");
  auto others = other->open({"alice", "", {}}).value();
  std::vector<Bytes> frames{
      wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}))};
  wire::ReadRequest request;
  request.session_secret = session.session_secret;
  request.path = path_of("noise");
  request.length = 900'000;
  for (std::uint64_t i = 1; i <= 200; ++i)  // 180 MB, where a connection may have 8 waiting
    frames.push_back(wire::encode_frame(wire::FrameType::read, i, wire::encode_message(request)));
  RawTlsPeer deaf(loop, "desk-a", frames);
  for (int i = 0; i < 500 && loop.server->connections() != 3; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(loop.server->connections() == 3);
  std::uint64_t most = 0;
  int served = 0;
  for (int i = 0; i < 2000 && loop.server->connections() == 3; ++i) {  // until the stall is noticed
    most = std::max(most, loop.server->flight_bytes());
    const auto read = other->read(others.session_secret, path_of("a.txt"), "", 0, 10);
    if (read && as_text(*read) == "first") ++served;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(loop.server->connections() == 2);
  CHECK(most > 1'000'000);
  CHECK(most <= (32u + 2) << 20);  // its share, and one frame
  CHECK(served > 20);
  for (int i = 0; i < 500 && loop.server->flight_bytes() != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(loop.server->flight_bytes() == 0);
  CHECK(link->read(session.session_secret, path_of("noise"), "", 0, 10)->size() == 10);
}

TEST_CASE("a batch that lies about itself is refused and the session goes on") {
  Loopback loop;
  auto link = loop.link("desk-a");
  auto session = link->open({"alice", "", {}}).value();
  SampleBatch batch(session.incarnation, 1, {{"x", "12345"}});
  std::get<profile::Put>(batch.batch.records[0]).entry.size_bytes = 99;  // disagrees with its content
  auto refused = link->commit(session.session_secret, batch.batch, batch);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::invalid_argument);
  SampleBatch huge(session.incarnation, 1, {{"x", "1"}});
  auto& put = std::get<profile::Put>(huge.batch.records[0]);
  put.entry.size_bytes = put.contents[0].size_bytes = 1ull << 50;
  put.contents[0].writes = {{0, 1ull << 50}};
  refused = link->commit(session.session_secret, huge.batch, huge);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::full);
  SampleBatch good(session.incarnation, 1, {{"x", "1"}});
  CHECK(link->commit(session.session_secret, good.batch, good)->version == 2);
}

TEST_CASE("small batches wait in memory, as long as there are not too many, and are read as from a file") {
  support::TemporaryDirectory folder;
  SpoolBudget budget(1u << 30, 1u << 30);
  const auto wait_in = [&](const std::string& place, std::uint64_t bytes) {
    auto spool = Spool::create(place, "desk-a", bytes, budget);
    if (!spool) return spool;
    Bytes data(bytes);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
    REQUIRE((*spool)->append(ByteView(data).first(bytes / 3)));
    REQUIRE((*spool)->append(ByteView(data).subspan(bytes / 3)));
    CHECK((*spool)->append(ByteView(data).first(1)).error().code == ErrorCode::protocol);
    Bytes read(bytes - 5);
    REQUIRE((*spool)->read(5, read));
    CHECK(std::equal(read.begin(), read.end(), data.begin() + 5));
    CHECK_FALSE((*spool)->read(6, read));
    return spool;
  };
  const auto nowhere = folder / "missing";
  CHECK_FALSE(wait_in(nowhere, Spool::kMostInMemory + 1));
  REQUIRE(wait_in(folder.path(), Spool::kMostInMemory + 1));
  std::vector<std::unique_ptr<Spool>> waiting;
  for (std::uint64_t used = 0; used < SpoolBudget::kMostInMemory; used += Spool::kMostInMemory) {
    auto spool = wait_in(nowhere, Spool::kMostInMemory);
    REQUIRE(spool);
    waiting.push_back(std::move(*spool));
  }
  CHECK_FALSE(wait_in(nowhere, 100));
  CHECK(wait_in(folder.path(), 100));
  waiting.clear();
  CHECK(wait_in(nowhere, 100));
  CHECK(budget.used() == 0);
}

TEST_CASE("a full spool is said, and is free again when the batch that filled it is gone") {
  SpoolBudget budget(1000, 900);
  support::TemporaryDirectory folder;
  auto first = Spool::create(folder.path(), "desk-a", 800, budget);
  REQUIRE(first);
  auto second = Spool::create(folder.path(), "desk-a", 300, budget);
  REQUIRE(!second);
  CHECK(second.error().code == ErrorCode::full);
  CHECK(!Spool::create(folder.path(), "desk-a", ~std::uint64_t{0}, budget));
  first->reset();
  CHECK(Spool::create(folder.path(), "desk-a", 300, budget));
  auto large = Spool::create(folder.path(), "desk-a", 901, budget);
  REQUIRE(!large);
  CHECK(large.error().message.find("desk-a") != std::string::npos);
  auto most = Spool::create(folder.path(), "desk-a", 900, budget);
  REQUIRE(most);
  CHECK(Spool::create(folder.path(), "desk-b", 100, budget));  // what one desktop can never take
  CHECK(!Spool::create(folder.path(), "desk-b", 101, budget));
}

}  // namespace
}  // namespace roamstead::server
