// Keys and values over loopback: what a session may see of its hives, and nothing else.
#include <doctest/doctest.h>

#include "common/wire/batch_stream.h"
#include "coordinator/server/testing/loopback.h"

namespace roamstead::server {
namespace {

using profile::KeyPath;
using profile::KeyScope;

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }
const profile::ProfilePath kHive = path_of("NTUSER.DAT");

Bytes noise(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  std::minstd_rand random(seed);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

profile::PutKey put_key(const std::string& path, std::vector<profile::RegistryValue> values = {}) {
  profile::PutKey put;
  put.hive = kHive;
  put.key = key_of(path);
  put.entry.written_100ns = 7;
  put.entry.security = Bytes(20, std::byte{1});
  put.values = std::move(values);
  return put;
}

// A hive with a wide key, a deep one, and values of all sizes; its own source of content.
struct HiveBatch final : profile::ContentSource {
  profile::Batch batch;
  std::map<std::pair<std::size_t, std::size_t>, Bytes> content;

  HiveBatch(const Guid& incarnation, std::uint64_t ordinal) {
    batch.incarnation = incarnation;
    batch.ordinal = ordinal;
    batch.snapshot = Guid::random();
  }
  void make_hive() {
    profile::Put put;
    put.path = kHive;
    put.entry.kind = profile::EntryKind::registry;
    batch.records.push_back(put);
    batch.records.push_back(put_key(""));
  }
  void add_big(const std::string& path, const std::string& name, Bytes bytes) {
    content[{batch.records.size(), 0}] = bytes;
    batch.records.push_back(put_key(path, {{name, 3, bytes.size(), {}}}));
  }
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    const auto& bytes = content.at({record, stream});
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
};

struct Registry {
  Loopback loop;
  std::unique_ptr<wire::TlsLink> link = loop.link("desk-a");
  wire::OpenReply session;

  Registry() {
    auto first = link->open({"alice", "", {}}).value();
    HiveBatch batch(first.incarnation, 1);
    batch.make_hive();
    batch.batch.records.push_back(put_key("Software"));
    batch.batch.records.push_back(put_key("Software\\Many"));
    for (int i = 0; i < 3000; ++i)
      batch.batch.records.push_back(
          put_key("Software\\Many\\" + std::to_string(i), {{"v", 3, 200, Bytes(200, std::byte{1})}}));
    batch.batch.records.push_back(put_key("Console", {{"Font", 1, 4, Bytes(4)}}));
    batch.add_big("Big", "blob", noise(3'000'000, 5));
    auto reply = link->commit(first.session_secret, batch.batch, batch);
    REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
    REQUIRE(link->close(first.session_secret));
    session = link->open({"alice", "", {}}).value();
  }
  Result<profile::KeyStates> keys(const std::string& key, KeyScope scope, const std::string& cursor = "") {
    return link->list_keys(session.session_secret, kHive, key_of(key), scope, cursor);
  }
};

TEST_CASE("a key, a small subtree and a large one in parts come over the wire, as do large values") {
  Registry r;
  auto one = r.keys("", KeyScope::key).value();
  CHECK(one.keys.size() == 4);
  CHECK(one.next.empty());
  for (const auto& state : one.keys) CHECK(state.complete == state.path.is_root());
  auto many = r.keys("Software\\Many", KeyScope::subtree_if_small).value();  // as `key`: 3000 by name
  auto rest = r.keys("Software\\Many", KeyScope::subtree_if_small, many.next).value();
  CHECK(many.keys.size() + rest.keys.size() == 3001);
  CHECK_FALSE(rest.keys.back().complete);
  CHECK(r.keys("console", KeyScope::subtree_if_small)->keys.at(0).values.size() == 1);
  std::size_t parts = 0, complete = 0;
  for (std::string cursor;;) {
    auto part = r.keys("Software", KeyScope::subtree, cursor).value();
    CHECK(wire::encode_message(part).size() < 2 * (256u << 10));
    for (const auto& state : part.keys) complete += state.complete;
    ++parts;
    if ((cursor = part.next).empty()) break;
  }
  CHECK(parts > 2);
  CHECK(complete == 3002);
  auto big = r.keys("Big", KeyScope::key).value().keys.at(0).values.at(0);
  CHECK(big.size_bytes == 3'000'000);
  CHECK(big.data.empty());
  Bytes whole;
  while (whole.size() < big.size_bytes) {
    auto length = std::min<std::size_t>(wire::kMaxReadBytes, big.size_bytes - whole.size());
    auto bytes =
        r.link->read_value(r.session.session_secret, kHive, key_of("Big"), "BLOB", whole.size(), length);
    REQUIRE(bytes);
    whole.insert(whole.end(), bytes->begin(), bytes->end());
  }
  CHECK(whole == noise(3'000'000, 5));
}

TEST_CASE("a key with more data in its values than an answer holds comes without it") {
  Registry r;
  HiveBatch batch(r.session.incarnation, 1);
  std::vector<profile::RegistryValue> values;
  for (int i = 0; i < 1000; ++i) values.push_back({std::to_string(i), 3, 4096, noise(4096, 1)});
  batch.batch.records.push_back(put_key("Wide", values));
  REQUIRE(r.link->commit(r.session.session_secret, batch.batch, batch));
  auto next = r.loop.link("desk-a")->open({"alice", "", {}}).value();
  auto link = r.loop.link("desk-a");
  auto wide = link->list_keys(next.session_secret, kHive, key_of("Wide"), KeyScope::key, "");
  REQUIRE_MESSAGE(wide.has_value(), wide.error().to_string());
  REQUIRE(wide->keys.size() == 1);
  REQUIRE(wide->keys[0].values.size() == 1000);
  CHECK(wide->keys[0].values[7].data.empty());
  CHECK(wide->keys[0].values[7].size_bytes == 4096);
  auto data = link->read_value(next.session_secret, kHive, key_of("Wide"), "7", 0, 4096);
  REQUIRE(data);
  CHECK(*data == noise(4096, 1));
}

TEST_CASE("keys are those of the pinned version, and only for the session's own desktop") {
  Registry r;
  HiveBatch batch(r.session.incarnation, 1);
  batch.batch.records.push_back(profile::DeleteKey{kHive, key_of("Console")});
  batch.batch.records.push_back(put_key("New", {{"x", 4, 4, Bytes(4)}}));
  REQUIRE(r.link->commit(r.session.session_secret, batch.batch, batch)->version == 3);
  CHECK(r.keys("Console", KeyScope::key));
  CHECK(r.keys("New", KeyScope::key).error().code == ErrorCode::not_found);
  auto b = r.loop.link("desk-b");
  CHECK(b->list_keys(r.session.session_secret, kHive, {}, KeyScope::key, "").error().code ==
        ErrorCode::denied);
  CHECK(b->read_value(r.session.session_secret, kHive, key_of("Console"), "Font", 0, 4).error().code ==
        ErrorCode::denied);
  REQUIRE(r.link->close(r.session.session_secret));
  CHECK(r.keys("Console", KeyScope::key).error().code == ErrorCode::denied);
  auto again = r.link->open({"alice", "", {}}).value();
  auto changed = r.link->list_keys(again.session_secret, kHive, {}, KeyScope::key, "").value();
  CHECK(std::count_if(changed.keys.begin(), changed.keys.end(), [](const auto& state) {
          return state.path.text() == "New" || state.path.text() == "Console";
        }) == 1);
}

TEST_CASE("questions about keys that make no sense are refused, and the session goes on") {
  Registry r;
  auto& secret = r.session.session_secret;
  CHECK(r.keys("Nowhere", KeyScope::key).error().code == ErrorCode::not_found);
  CHECK(r.link->list_keys(secret, path_of("a.txt"), {}, KeyScope::key, "").error().code ==
        ErrorCode::not_found);
  CHECK(r.link->read(secret, kHive, "", 0, 100)->empty());  // a hive has no bytes
  CHECK(r.keys("", static_cast<KeyScope>(9)).error().code == ErrorCode::protocol);
  CHECK(r.keys("", KeyScope::subtree, std::string(600'000, 'x')).error().code == ErrorCode::protocol);
  CHECK(!r.keys("", KeyScope::subtree, "no\\\\cursor"));
  auto value = [&](const char* key, const char* name, std::uint64_t offset, std::size_t length) {
    auto bytes = r.link->read_value(secret, kHive, key_of(key), name, offset, length);
    return bytes ? ErrorCode{} : bytes.error().code;
  };
  CHECK(value("Console", "Nothing", 0, 1) == ErrorCode::not_found);
  CHECK(value("Console", "Font", 0, 5) == ErrorCode::invalid_argument);
  CHECK(value("Console", "Font", ~std::uint64_t{0}, 4) == ErrorCode::invalid_argument);
  CHECK(value("Big", "blob", 0, wire::kMaxReadBytes + 1) == ErrorCode::invalid_argument);
  CHECK(r.loop.sessions
            ->read_value("desk-a", {secret, kHive, key_of("Big"), "blob", 0, wire::kMaxReadBytes + 1})
            .error()
            .code == ErrorCode::protocol);
  CHECK(value("Console", "Font", 0, 4) == ErrorCode{});
}

TEST_CASE("bytes that are no question about keys cost an answer, and no more") {
  Registry r;
  auto random = support::seeded_random();
  auto good =
      wire::encode_message(wire::KeysRequest{r.session.session_secret, kHive, key_of("Software"), 1, ""});
  std::vector<Bytes> frames{
      wire::encode_frame(wire::FrameType::hello, 0, wire::encode_message(wire::Hello{}))};
  for (std::uint64_t id = 1; id <= 200; ++id) {
    auto bent = good;
    for (auto flips = 1 + random() % 4; flips != 0; --flips)
      bent[random() % bent.size()] ^= static_cast<std::byte>(1 << random() % 8);
    frames.push_back(
        wire::encode_frame(id % 2 == 0 ? wire::FrameType::keys : wire::FrameType::value, id, bent));
  }
  RawTlsPeer peer(r.loop, "desk-a", frames);
  CHECK_FALSE(peer.closed_within(std::chrono::milliseconds(500)));
  CHECK(r.keys("Console", KeyScope::key));
}

}  // namespace
}  // namespace roamstead::server
