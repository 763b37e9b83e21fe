#include "common/wire/message.h"

#include <doctest/doctest.h>

#include <functional>

#include "common/wire/batch_stream.h"
#include "tests/support/seed.h"

namespace roamstead::wire {
namespace {

profile::ProfilePath path(const char* text) { return profile::ProfilePath::parse(text).value(); }

profile::Batch sample_batch() {
  profile::Batch batch;
  batch.incarnation = Guid::random();
  batch.ordinal = 3;
  batch.snapshot = Guid::random();
  batch.records.push_back(profile::Delete{path("old")});
  batch.records.push_back(profile::Move{path("a"), path("b")});
  profile::Put put;
  put.path = path("AppData/x.db");
  put.entry.size_bytes = 10'000;
  put.entry.streams.push_back({"zone", 5});
  put.base = path("AppData/x.db");
  put.contents.push_back({"", 10'000, {{0, 100}, {4096, 4096}}});
  put.contents.push_back({"zone", 5, {{0, 5}}});
  batch.records.push_back(put);
  batch.held_back.push_back({"AppData/locked", "torn record"});
  const auto key = [](const char* text) { return profile::KeyPath::parse(text).value(); };
  batch.records.push_back(profile::DeleteKey{path("NTUSER.DAT"), key("Software\\Gone")});
  profile::PutKey put_key;
  put_key.hive = path("NTUSER.DAT");
  put_key.key = key("Software\\Größe");
  put_key.entry = {Bytes(4, std::byte{'c'}), 132000000000000000, Bytes(20, std::byte{1})};
  put_key.values = {
      {"", 1, 4, Bytes(4)}, {"big", 3, 70'000, {}}, {"empty", 0, 0, {}}, {"other", 3, 5'000, {}}};
  put_key.deleted_values = {"old"};
  batch.records.push_back(put_key);
  return batch;
}

TEST_CASE("a batch comes back as it was encoded") {
  auto batch = sample_batch();
  auto encoded = encode_batch(batch);
  REQUIRE(encoded);
  auto decoded = decode_batch(*encoded);
  REQUIRE(decoded);
  CHECK(*decoded == batch);
}

TEST_CASE("an encoded batch that is cut or has bytes too many is refused") {
  auto encoded = encode_batch(sample_batch()).value();
  for (std::size_t length = 0; length < encoded.size(); ++length) {
    auto decoded = decode_batch(ByteView(encoded).first(length));
    REQUIRE(!decoded);
    CHECK(decoded.error().code == ErrorCode::protocol);
  }
  encoded.push_back(std::byte{0});
  CHECK(!decode_batch(encoded));
}

TEST_CASE("a push comes back as it was encoded; kinds and texts that no coordinator says are refused") {
  Push push{PushKind::close, Guid::random(), 10'000, "alice", "the pool is being emptied"};
  const auto decoded = [](const Push& message) {
    return decode_push({FrameType::push, false, 0, encode_message(message)});
  };
  CHECK(decoded(push).value() == push);
  push.kind = static_cast<PushKind>(static_cast<unsigned>(kLastPushKind) + 1);
  CHECK(decoded(push).error().code == ErrorCode::protocol);
  push.kind = PushKind::flush;
  push.text.resize(kMaxPushText + 1);
  CHECK(decoded(push).error().code == ErrorCode::protocol);
  CHECK(!decode_push({FrameType::push, false, 0, Bytes(5)}));
}

TEST_CASE("settings of agents come back as they were encoded; too many, too long or cut ones are refused") {
  const settings::SentSettings sent = {{"FillMiBPerSecond", "20"}, {"LogLevel", "debug"}};
  const auto greeted = [](const std::optional<settings::SentSettings>& of) {
    HelloReply reply;
    reply.desktop = "desk-a";
    reply.settings = of;
    return decode_hello_reply({FrameType::hello_reply, false, 0, encode_message(reply)});
  };
  CHECK(greeted(sent)->settings == sent);
  CHECK(greeted(settings::SentSettings())->settings->empty());
  CHECK(!greeted(std::nullopt)->settings);
  Push push;
  push.kind = PushKind::settings;
  push.settings = sent;
  const auto pushed = [&] { return decode_push({FrameType::push, false, 0, encode_message(push)}); };
  CHECK(pushed().value() == push);
  for (const auto& wrong : {settings::SentSettings(settings::kMostSentSettings + 1),
                            settings::SentSettings{{std::string(300, 'x'), ""}},
                            settings::SentSettings{{"LogLevel", std::string(300, 'x')}}}) {
    push.settings = wrong;
    CHECK(pushed().error().code == ErrorCode::protocol);
    CHECK(greeted(wrong).error().code == ErrorCode::protocol);
  }
  HelloReply reply;
  reply.settings = sent;
  const auto whole = encode_message(reply);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK(!decode_hello_reply({FrameType::hello_reply, false, 0, to_bytes(ByteView(whole).first(length))}));
}

TEST_CASE("flipped bits in a batch never do more than fail") {
  auto random = support::seeded_random();
  auto encoded = encode_batch(sample_batch()).value();
  for (int i = 0; i < 20'000; ++i) {
    auto bent = encoded;
    for (auto flips = 1 + random() % 3; flips != 0; --flips)
      bent[random() % bent.size()] ^= static_cast<std::byte>(1 << random() % 8);
    if (auto decoded = decode_batch(bent)) CHECK(ContentLayout::of(*decoded).has_value() == true);
  }
}

TEST_CASE("a count of records beyond what the bytes can hold is refused before memory is set aside") {
  profile::Batch empty;
  auto encoded = encode_batch(empty).value();
  store_le<std::uint64_t>(encoded, encoded.size() - 8, 2'000'000);
  CHECK(!decode_batch(encoded));
  encoded.resize(encoded.size() + 3'000'000);
  store_le<std::uint64_t>(encoded, encoded.size() - 3'000'008, 2'999'999);
  CHECK(!decode_batch(encoded));
}

TEST_CASE("an entry of unknown kind or with attributes that do not roam is refused") {
  auto batch = sample_batch();
  std::get<profile::Put>(batch.records[2]).entry.kind = static_cast<profile::EntryKind>(9);
  CHECK(!decode_batch(encode_batch(batch).value()));
  batch = sample_batch();
  std::get<profile::Put>(batch.records[2]).entry.metadata.attributes = 0x400;
  CHECK(!decode_batch(encode_batch(batch).value()));
}

TEST_CASE("the content of a batch is found by record, stream and offset") {
  auto batch = sample_batch();
  auto layout = ContentLayout::of(batch).value();
  CHECK(layout.total_bytes() == batch.content_bytes());
  CHECK(layout.locate(2, 0, {0, 100}).value() == 0);
  CHECK(layout.locate(2, 0, {99, 1}).value() == 99);
  CHECK(layout.locate(2, 0, {4100, 4092}).value() == 104);
  CHECK(layout.locate(2, 1, {0, 5}).value() == 4196);
  CHECK(!layout.locate(2, 0, {0, 101}));
  CHECK(!layout.locate(2, 0, {100, 1}));
  CHECK(!layout.locate(2, 2, {0, 1}));
  CHECK(!layout.locate(1, 0, {0, 1}));
  CHECK(!layout.locate(2, 0, {4097, ~std::uint64_t{0}}));
}

TEST_CASE("values too large for a record travel as content") {
  auto layout = ContentLayout::of(sample_batch()).value();
  const auto files = 4196u + 5u;
  CHECK(layout.total_bytes() == files + 75'000);
  CHECK(layout.locate(4, 1, {0, 70'000}).value() == files);
  CHECK(layout.locate(4, 3, {4'999, 1}).value() == files + 74'999);
  CHECK(!layout.locate(4, 0, {0, 4}));
  CHECK(!layout.locate(4, 1, {70'000, 1}));
}

TEST_CASE("a key that lies about its values is refused") {
  auto lie = [](const std::function<void(profile::PutKey&)>& change) {
    auto batch = sample_batch();
    change(std::get<profile::PutKey>(batch.records[4]));
    auto decoded = decode_batch(encode_batch(batch).value());
    return !decoded && decoded.error().code == ErrorCode::invalid_argument;
  };
  CHECK(!lie([](auto&) {}));
  CHECK(lie([](auto& key) { key.values[0].data.resize(3); }));
  CHECK(lie([](auto& key) { key.values[1].data.resize(70'000); }));
  CHECK(lie([](auto& key) { key.values[1].size_bytes = ~std::uint64_t{0}; }));
  CHECK(lie([](auto& key) { key.values[2].name = "BIG"; }));
  CHECK(lie([](auto& key) { key.deleted_values = {"Other"}; }));
  CHECK(lie([](auto& key) { key.entry.security.resize(70'000); }));
  CHECK(lie([](auto& key) { key.values[2].name = "\xff"; }));
  CHECK(lie([](auto& key) { key.hive = {}; }));
}

TEST_CASE("requests and answers about keys come back; a key that cannot be is refused") {
  KeysRequest request{Guid::random(), path("NTUSER.DAT"), profile::KeyPath::parse("A\\B").value(), 2, "c"};
  auto payload = encode_message(request);
  auto back = decode_message<KeysRequest>(Frame{FrameType::keys, false, 1, payload}, "keys");
  REQUIRE(back);
  CHECK(back->key == request.key);
  CHECK(back->scope == 2);
  auto at = as_text(payload).find("A\\B");
  REQUIRE(at != std::string_view::npos);
  payload[at + 2] = std::byte{'\\'};  // an empty name
  CHECK(!decode_message<KeysRequest>(Frame{FrameType::keys, false, 1, payload}, "keys"));
  profile::KeyStates states;
  states.keys.push_back({request.key, {{}, 7, Bytes(20)}, true, {{"v", 4, 4, Bytes(4)}}});
  states.next = "cursor";
  payload = encode_message(states);
  auto answer = decode_message<profile::KeyStates>(Frame{FrameType::keys_reply, false, 1, payload}, "keys");
  REQUIRE(answer);
  CHECK(answer->keys == states.keys);
  CHECK(answer->next == "cursor");
  for (std::size_t length = 0; length < payload.size(); ++length) {
    Frame cut{FrameType::keys_reply, false, 1,
              Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length))};
    CHECK(!decode_message<profile::KeyStates>(cut, "keys"));
  }
}

TEST_CASE("a fetch and its answer come back; cut ones, and answers that no coordinator gives, are refused") {
  FetchRequest request{Guid::random(),
                       {{path("folder"), true}, {path("folder/file"), false}, {path("x"), false}}};
  auto asked =
      decode_message<FetchRequest>(Frame{FrameType::fetch, false, 1, encode_message(request)}, "fetch");
  REQUIRE(asked);
  REQUIRE(asked->items.size() == 3);
  CHECK(asked->items[0].directory);
  CHECK(asked->items[1].path == request.items[1].path);

  FetchReply reply;
  reply.items.resize(3);
  reply.items[0] = {Fetched::Kind::directory, {{{"file", {}}}, true}, 0, {}};
  reply.items[1] = {Fetched::Kind::file, {}, 5, Bytes(5)};
  const auto payload = encode_message(reply);
  auto answer = decode_message<FetchReply>(Frame{FrameType::fetch_reply, false, 1, payload}, "fetch reply");
  REQUIRE(answer);
  CHECK(check_fetched(request.items, answer->items));
  CHECK(answer->items[0].part.entries == reply.items[0].part.entries);
  CHECK(answer->items[1].content == reply.items[1].content);
  for (std::size_t length = 0; length < payload.size(); ++length) {
    Frame cut{FrameType::fetch_reply, false, 1,
              Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length))};
    CHECK(!decode_message<FetchReply>(cut, "fetch reply"));
  }

  auto refused = [&](const std::function<void(std::vector<Fetched>&)>& bend) {
    auto bent = reply.items;
    bend(bent);
    auto checked = check_fetched(request.items, bent);
    return !checked && checked.error().code == ErrorCode::protocol;
  };
  CHECK(refused([](auto& items) { items.clear(); }));
  CHECK(refused([](auto& items) { items.resize(4); }));
  CHECK(refused([](auto& items) { items[2].kind = static_cast<Fetched::Kind>(3); }));
  CHECK(refused([](auto& items) { std::swap(items[0], items[1]); }));
  CHECK(refused([](auto& items) { items[0].part.entries.clear(); }));
  CHECK(refused([](auto& items) { items[1].content.resize(4); }));
  CHECK(refused([](auto& items) { items[1].size_bytes = kFetchFileBytes; }));
  CHECK(refused([](auto& items) { items[1].content.resize(items[1].size_bytes = kFetchFileBytes + 1); }));
  CHECK(!refused([](auto& items) { items.resize(1); }));
  reply.items[1].size_bytes = kFetchFileBytes + 1;
  reply.items[1].content.resize(kFetchFileBytes);
  CHECK(check_fetched(request.items, reply.items));
}

TEST_CASE("messages come back, and cut ones are refused") {
  OpenRequest request{"S-1-5-21-1", "Users/alice", ResumeInfo{Guid::random(), Guid::random(), 7}};
  auto payload = encode_message(request);
  auto back = decode_message<OpenRequest>(Frame{FrameType::open, false, 1, payload}, "open");
  REQUIRE(back);
  CHECK(back->profile == request.profile);
  CHECK(back->resume->highest_ordinal == 7);
  for (std::size_t length = 0; length < payload.size(); ++length) {
    auto cut = decode_message<OpenRequest>(
        Frame{FrameType::open, false, 1,
              Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length))},
        "open");
    REQUIRE(!cut);
    CHECK(cut.error().code == ErrorCode::protocol);
  }
}

TEST_CASE("what is said of snapshots by the host comes back; cut ones and unknown states are refused") {
  const QuietRequest quiet{Guid::random(), Guid::random(), Guid::random(),
                           Guid::random(), true,           "ProgramData/Roamstead/provenance.journal"};
  auto bytes = encode_message(quiet);
  const auto again = decode_message<QuietRequest>({FrameType::quiet, false, 1, bytes}, "quiet");
  REQUIRE(again);
  CHECK(again->token == quiet.token);
  CHECK(again->below == quiet.below);
  CHECK(again->ended);
  CHECK(again->provenance_path == quiet.provenance_path);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK_FALSE(decode_message<QuietRequest>(
        {FrameType::quiet, false, 1,
         Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length))},
        "quiet"));
  SnapshotState state;
  state.kind = SnapshotState::Kind::failed;
  state.records = 7;
  state.message = "why";
  const auto told = decode_snapshot_state({FrameType::snapshot_state, false, 1, encode_message(state)});
  REQUIRE(told);
  CHECK(told->kind == state.kind);
  CHECK(told->records == 7);
  CHECK(told->message == "why");
  state.kind = static_cast<SnapshotState::Kind>(static_cast<unsigned>(kLastSnapshotStateKind) + 1);
  CHECK_FALSE(decode_snapshot_state({FrameType::snapshot_state, false, 1, encode_message(state)}));
}

TEST_CASE("a path that climbs out of the profile cannot be said") {
  auto payload = encode_message(ListRequest{Guid::random(), path("ab/cd"), ""});
  std::string_view needle = "ab/cd";
  auto at = as_text(payload).find(needle);
  REQUIRE(at != std::string_view::npos);
  std::memcpy(payload.data() + at, "../cd", 5);
  CHECK(!decode_message<ListRequest>(Frame{FrameType::list, false, 1, payload}, "list"));
}

TEST_CASE("every error code survives the wire") {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    Error error(static_cast<ErrorCode>(code), "why");
    CHECK(to_error(to_failure(error)).code == error.code);
  }
}

}  // namespace
}  // namespace roamstead::wire
