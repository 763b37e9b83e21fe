// Everything that is parsed from shared storage, cut and altered: refused or read as something possible,
// never a crash.
#include <doctest/doctest.h>

#include "coordinator/repository/commit_record.h"
#include "coordinator/repository/hive_place.h"
#include "coordinator/repository/hive_record.h"
#include "coordinator/repository/keystore.h"
#include "coordinator/repository/node.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

// Every cut must be refused; every alteration must end, and be refused where a checksum covers it.
template <class Parse>
void torment(const Bytes& good, bool has_checksum, const Parse& parse) {
  REQUIRE(parse(ByteView(good)));
  for (std::size_t cut = 0; cut < good.size(); ++cut) CHECK_FALSE(parse(ByteView(good).first(cut)));
  auto random = support::seeded_random();
  for (int round = 0; round < 3000; ++round) {
    auto damaged = good;
    for (auto flips = 1 + random() % 3; flips-- > 0;)
      damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 + random() % 255);
    auto survived = parse(ByteView(damaged));
    if (has_checksum && damaged != good) CHECK_FALSE(survived);
  }
}

}  // namespace

TEST_CASE("pack headers") {
  auto repository = Guid::random();
  auto bytes = encode_pack_header({repository, {7, 3}, Guid::random()});
  CHECK(bytes.size() == kPackHeaderBytes);
  auto header = parse_pack_header(bytes).value();
  CHECK(header.repository == repository);
  CHECK(header.pack == PackNumber{7, 3});
  torment(bytes, true, [](ByteView view) { return parse_pack_header(view).has_value(); });
}

TEST_CASE("record headers") {
  RecordHeader header;
  header.type = ObjectType::page;
  header.compressed = true;
  header.id.bytes[5] = std::byte{9};
  header.profile = Guid::random();
  header.content_bytes = 1000;
  Bytes record;
  Bytes payload(50, std::byte{1});
  append_record(record, header, payload);
  auto parsed = parse_record_header(record).value();
  CHECK(parsed.id == header.id);
  CHECK(parsed.record_bytes() == record.size());
  CHECK(parsed.content_bytes == 1000);
  record.resize(kRecordHeaderBytes);
  torment(record, true, [](ByteView view) { return parse_record_header(view).has_value(); });
  header.content_bytes = kMaxObjectBytes + 1;
  Bytes huge;
  append_record(huge, header, payload);
  CHECK_FALSE(parse_record_header(huge));
}

TEST_CASE("keystores") {
  KeystoreContent content;
  content.repository = Guid::random();
  content.id_key = random_key();
  content.seal_key = random_key();
  content.profiles = {{Guid::random(), "S-1-5-21-1", random_key(), 5},
                      {Guid::random(), "bob", random_key(), 6}};
  auto bytes = encode_keystore(content);
  auto parsed = parse_keystore(bytes).value();
  CHECK(parsed.seal_key == content.seal_key);
  CHECK(parsed.profiles[1].name == "bob");
  torment(bytes, true, [](ByteView view) { return parse_keystore(view).has_value(); });
}

TEST_CASE("commit records") {
  CommitRecord record;
  record.profile = Guid::random();
  record.info.number = 7;
  record.info.parent = 6;
  record.info.desktop = "desktop-1";
  record.info.held_back = {{"a", "b"}};
  record.root = to_bytes("root");
  record.durable_pack = {3, 1};
  record.durable_bytes = 99;
  auto bytes = encode_commit_record(record);
  auto parsed = parse_commit_record(bytes).value();
  CHECK(parsed.info.desktop == "desktop-1");
  CHECK(parsed.root == record.root);
  CHECK(parsed.durable_bytes == 99);
  torment(bytes, false, [](ByteView view) { return parse_commit_record(view).has_value(); });
  // The formats before ended 8 bytes earlier, without sizes, and 16, without merges.
  auto former = bytes;
  former.resize(bytes.size() - 8);
  former[0] = std::byte{2};
  CHECK(parse_commit_record(former)->info.logical_bytes == kUnknownBytes);
  former.resize(bytes.size() - 16);
  former[0] = std::byte{1};
  CHECK(parse_commit_record(former)->durable_bytes == 99);
  record.info.kind = VersionKind::merge;
  record.info.merged = 5;
  auto merge = encode_commit_record(record);
  CHECK(parse_commit_record(merge)->info.merged == 5);
  merge.resize(merge.size() - 16);
  merge[0] = std::byte{1};
  CHECK(!parse_commit_record(merge));
  for (int i = 0; i < 30'000; ++i)
    record.info.held_back.push_back({std::string(100, 'p'), std::string(100, 'r')});
  auto many = encode_commit_record(record);
  CHECK(many.size() < kMaxObjectBytes);
  CHECK(parse_commit_record(many)->info.held_back.back().reason.find("more") != std::string::npos);
}

TEST_CASE("nodes") {
  Node file;
  file.entry.size_bytes = 30;
  file.entry.metadata.security = to_bytes("descriptor");
  file.entry.streams = {{"Zone.Identifier", 3}, {"big", std::uint64_t{1} << 40}};
  file.unnamed.where = std::vector<Piece>{{10, ObjectId{}}, {20, ObjectId::from(Bytes(32, std::byte{1}))}};
  file.streams = {Content{to_bytes("abc")}, Content{ObjectId::from(Bytes(32, std::byte{2}))}};
  Node folder;
  folder.entry.kind = profile::EntryKind::directory;
  folder.children = ObjectId::from(Bytes(32, std::byte{3}));
  Node junction;
  junction.entry.kind = profile::EntryKind::junction;
  junction.entry.link_target = "a/b";
  for (const auto& node : {file, folder, junction}) {
    CHECK(parse_node(encode_node(node)).value() == node);
    torment(encode_node(node), false, [](ByteView view) { return parse_node(view).has_value(); });
  }
}

TEST_CASE("hives and their records") {
  Node hive;
  hive.entry.kind = profile::EntryKind::registry;
  hive.children = ObjectId::from(Bytes(32, std::byte{4}));
  CHECK(parse_node(encode_node(hive)).value() == hive);
  KeyRecord key{profile::KeyPath::parse("Software").value(), {to_bytes("class"), 5, to_bytes("descriptor")}};
  CHECK(parse_key_record(encode_record(key)).value() == key);
  torment(encode_record(key), false, [](ByteView view) { return parse_key_record(view).has_value(); });
  ValueRecord small{"name", 1, 3, Content{to_bytes("abc")}};
  ValueRecord large{"", 3, 5000,
                    Content{std::vector<Piece>{{5000, ObjectId::from(Bytes(32, std::byte{1}))}}}};
  for (const auto& value : {small, large}) {
    CHECK(parse_value_record(encode_record(value)).value() == value);
    torment(encode_record(value), false, [](ByteView view) { return parse_value_record(view).has_value(); });
  }
  large.content.where = Bytes(5000);
  CHECK_FALSE(parse_value_record(encode_record(large)));  // so much is never inline
  small.content = Content{std::vector<Piece>{{3, ObjectId{}}}};
  CHECK_FALSE(parse_value_record(encode_record(small)));
  auto random = support::seeded_random();
  for (int round = 0; round < 20'000; ++round) {
    std::string place(random() % 80, '\0');
    for (auto& c : place) c = static_cast<char>(random() % 5);
    auto parsed = parse_place(place);
    if (!parsed) continue;
    CHECK(place.starts_with(parsed->record));
    CHECK(parsed->is_value == (parsed->record.size() != place.size()));
    CHECK(parsed->ends.back() <= parsed->record.size());
  }
}

TEST_CASE("sealed objects open only as what they were sealed as") {
  auto key = random_key();
  ObjectIdMaker ids(random_key());
  for (auto content : {Bytes{}, to_bytes("short"), Bytes(100'000, std::byte{7})}) {
    auto id = ids.make(ObjectType::chunk, Guid{}, content);
    auto sealed = seal(key, id, ObjectType::chunk, content);
    auto open = [&](const Key& with, const ObjectId& as, ObjectType type, ByteView payload,
                    std::size_t size) { return unseal(with, as, type, sealed.compressed, payload, size); };
    CHECK(open(key, id, ObjectType::chunk, sealed.payload, content.size()).value() == content);
    CHECK_FALSE(open(random_key(), id, ObjectType::chunk, sealed.payload, content.size()));
    CHECK_FALSE(open(key, id, ObjectType::page, sealed.payload, content.size()));
    CHECK_FALSE(open(key, ids.make(ObjectType::chunk, Guid{}, to_bytes("x")), ObjectType::chunk,
                     sealed.payload, content.size()));
    CHECK_FALSE(open(key, id, ObjectType::chunk, sealed.payload, content.size() + 1));
    torment(sealed.payload, true, [&](ByteView view) {
      return open(key, id, ObjectType::chunk, view, content.size()).has_value();
    });
  }
  CHECK(ids.make(ObjectType::chunk, Guid{}, {}) != ids.make(ObjectType::page, Guid{}, {}));
  CHECK(ids.make(ObjectType::page, Guid{}, {}) != ids.make(ObjectType::page, Guid::random(), {}));
}

TEST_CASE("object ids are HMAC-SHA-256, as another implementation computes it") {
  // Python: hmac.new(b"\x0b" * 32, b"\x01" + bytes(16) + b"Hi There", "sha256")
  Key key;
  key.fill(std::byte{0x0b});
  CHECK(ObjectIdMaker(key).make(ObjectType::chunk, Guid{}, to_bytes("Hi There")).short_text() ==
        "62b3a4aff6fcbc4d");
}
