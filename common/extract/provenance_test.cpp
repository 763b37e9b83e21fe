#include "common/extract/provenance.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

profile::ProfilePath path(const std::string& text) { return profile::ProfilePath::parse(text).value(); }

JournalHeader header() {
  JournalHeader result;
  result.session = Guid::from(as_bytes("0123456789abcdef"));
  result.profile = "S-1-5-21-1";
  result.version = 7;
  result.profile_root = "Users/alice";
  result.staging_root = "ProgramData/Roamstead/staging";
  return result;
}

profile::Entry file_entry(std::uint64_t size) {
  profile::Entry entry;
  entry.size_bytes = size;
  entry.metadata.written_100ns = 99;
  entry.streams = {{"Zone.Identifier", 26}};
  return entry;
}

void append(Bytes& journal, const Bytes& record) {
  journal.insert(journal.end(), record.begin(), record.end());
}

struct Built {
  Bytes journal;
  std::vector<std::size_t> ends;  // after each record
};

Built sample() {
  Built built;
  auto add = [&](const Bytes& record) {
    append(built.journal, record);
    built.ends.push_back(built.journal.size());
  };
  add(encode_header(header()));
  add(encode_published(1, {40, 2, 1000}, path("Documents"),
                       {profile::EntryKind::directory, {}, 0, {}, {}, 0, 0}));
  add(encode_published(2, {41, 0, 1001}, path("Documents/a.txt"), file_entry(10'000)));
  add(encode_populated(1));
  add(encode_loaded(2, "", 1, {11, 12}));
  add(encode_base_limit(2, "", 6000));
  add(encode_published(3, {42, 0, 1002}, path("Documents/b.txt"), file_entry(1)));
  add(encode_withdrawn(3));
  return built;
}

TEST_CASE("a journal replays to what was recorded") {
  auto built = sample();
  auto provenance = Provenance::parse(built.journal).value();
  CHECK(provenance.valid_bytes() == built.journal.size());
  CHECK(provenance.header().session == header().session);
  CHECK(provenance.header().profile_root == "Users/alice");
  REQUIRE(provenance.item_count() == 3);
  const auto directory = provenance.find_by_record(40);
  REQUIRE(directory != nullptr);
  CHECK(directory->populated);
  CHECK(directory->identity.sequence == 2);
  const auto file = provenance.find_by_base(path("Documents/a.txt"));
  REQUIRE(file != nullptr);
  CHECK(file->id == 2);
  CHECK(file->entry == file_entry(10'000));
  CHECK(file->streams.at("").base_limit == 6000);
  CHECK(file->streams.at("").tags == std::unordered_map<std::uint64_t, BlockTag>{{1, 11}, {2, 12}});
  CHECK(file->streams.at("Zone.Identifier").base_limit == 26);
  CHECK(file->last_record_at == built.ends[4]);
  CHECK(provenance.find(3)->withdrawn);
  CHECK(provenance.find_by_record(42) == nullptr);
  CHECK(provenance.find_by_base(path("Documents/b.txt")) == nullptr);
}

TEST_CASE("a base limit never rises, and an identity moves with its record") {
  auto built = sample();
  append(built.journal, encode_base_limit(2, "", 9000));
  append(built.journal, encode_identity(2, {77, 5, 2000}));
  auto provenance = Provenance::parse(built.journal).value();
  CHECK(provenance.find(2)->streams.at("").base_limit == 6000);
  CHECK(provenance.find_by_record(41) == nullptr);
  REQUIRE(provenance.find_by_record(77) != nullptr);
  CHECK(provenance.find_by_record(77)->identity.created_100ns == 2000);
}

TEST_CASE("of a dehydrated stream the tags so far count no more, those after do") {
  auto built = sample();
  append(built.journal, encode_loaded(2, "Zone.Identifier", 0, {5}));
  append(built.journal, encode_dehydrated(2));
  append(built.journal, encode_loaded(2, "", 2, {13}));
  auto provenance = Provenance::parse(built.journal).value();
  const auto file = provenance.find(2);
  CHECK(file->placeholder);
  CHECK_FALSE(provenance.find(1)->placeholder);
  CHECK(file->streams.at("").base_limit == 6000);
  CHECK(file->streams.at("").tags == std::unordered_map<std::uint64_t, BlockTag>{{2, 13}});
  CHECK(file->streams.at("Zone.Identifier").tags.size() == 1);
}

TEST_CASE("a journal cut at any length replays its whole records, and one without its header is refused") {
  auto built = sample();
  for (std::size_t length = 0; length <= built.journal.size(); ++length) {
    auto provenance = Provenance::parse(ByteView(built.journal).first(length));
    if (length < built.ends[0]) {
      REQUIRE_FALSE(provenance.has_value());
      CHECK(provenance.error().code == ErrorCode::corrupt);
      continue;
    }
    REQUIRE(provenance.has_value());
    auto end = *std::prev(std::upper_bound(built.ends.begin(), built.ends.end(), length));
    CHECK(provenance->valid_bytes() == end);
  }
}

TEST_CASE("a flipped bit ends the journal before the record it is in") {
  auto random = support::seeded_random();
  auto built = sample();
  for (int round = 0; round < 2000; ++round) {
    auto damaged = built.journal;
    auto at = built.ends[0] + random() % (damaged.size() - built.ends[0]);
    damaged[at] ^= static_cast<std::byte>(1u << random() % 8);
    auto provenance = Provenance::parse(damaged);
    REQUIRE(provenance.has_value());
    CHECK(provenance->valid_bytes() ==
          *std::prev(std::upper_bound(built.ends.begin(), built.ends.end(), at)));
  }
}

TEST_CASE("records that break the rules end the journal") {
  const Bytes breakers[] = {
      encode_published(2, {50, 0, 0}, path("x"), file_entry(1)),  // id again
      encode_published(0, {50, 0, 0}, path("x"), file_entry(1)),  // no id
      encode_populated(9),                                        // unknown item
      encode_loaded(3, "", 0, {1}),                               // withdrawn item
      encode_dehydrated(3),
      encode_loaded(2, "a:b", 0, {1}),               // impossible stream name
      encode_loaded(2, "", ~std::uint64_t{0}, {1}),  // impossible block
      encode_published(9, {50, 0, 0}, path("x"), file_entry(~std::uint64_t{0})),
  };
  for (const auto& breaker : breakers) {
    auto built = sample();
    append(built.journal, breaker);
    append(built.journal, encode_populated(2));
    auto provenance = Provenance::parse(built.journal).value();
    CHECK(provenance.valid_bytes() == built.ends.back());
    CHECK_FALSE(provenance.find(2)->populated);
  }
}

// A journal of records that speak of few items, files and paths, again and again.
Built busy(std::mt19937_64& random, std::size_t records) {
  Built built;
  const auto add = [&](const Bytes& record) {
    append(built.journal, record);
    built.ends.push_back(built.journal.size());
  };
  add(encode_header(header()));
  std::vector<ItemId> live;
  ItemId next = 1;
  const auto identity = [&] { return ItemIdentity{40 + random() % 12, 1, random() % 50}; };
  for (std::size_t i = 0; i < records; ++i) {
    if (live.empty() || random() % 4 == 0) {
      add(encode_published(next, identity(), path("p" + std::to_string(random() % 8)), file_entry(20'000)));
      live.push_back(next++);
      continue;
    }
    const auto at = random() % live.size();
    switch (random() % 6) {
      case 0:
        add(encode_populated(live[at]));
        break;
      case 1:
        add(encode_loaded(live[at], "", random() % 4, {1 + random(), 2}));
        break;
      case 2:
        add(encode_base_limit(live[at], "", random() % 20'000));
        break;
      case 3:
        add(encode_identity(live[at], identity()));
        break;
      case 4:
        add(encode_dehydrated(live[at]));
        break;
      default:
        add(encode_withdrawn(live[at]));
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  return built;
}

std::string text_of(const ItemPointer& item) {
  if (item == nullptr) return "none";
  std::string text =
      fmt::format("{} at {} {} {} was {} '{}' {} {} last {}", item->id, item->identity.record,
                  item->identity.sequence, item->identity.created_100ns, item->previous_identity.record,
                  item->base_path.text(), item->populated, item->withdrawn, item->last_record_at);
  if (item->placeholder) text += " placeholder";
  for (const auto& [name, stream] : item->streams) {
    text += fmt::format(" '{}' {}", name, stream.base_limit);
    for (const auto& [block, tag] : std::map(stream.tags.begin(), stream.tags.end()))
      text += fmt::format(" {}:{}", block, tag);
  }
  return text;
}

TEST_CASE("a journal that goes on still tells what it said when it was shorter") {
  auto random = support::seeded_random();
  for (int round = 0; round < 40; ++round) {
    const auto built = busy(random, 120);
    auto at = random() % built.ends.size();
    auto now = Provenance::parse(ByteView(built.journal).first(built.ends[at])).value();
    // Extended several times, as an extractor that lives on does; only the last step is looked back over.
    while (at + 1 < built.ends.size()) {
      const auto from = built.ends[at];
      const auto shorter = Provenance::parse(ByteView(built.journal).first(from)).value();
      at += 1 + random() % (built.ends.size() - at - 1);
      const auto torn = random() % 2 * (random() % 5);  // of the next record, if there is one
      const auto end = std::min(built.ends[at] + torn, built.journal.size());
      EarlierProvenance earlier(now);
      const auto source = [&](std::uint64_t offset, MutableByteView out) -> Result<void> {
        const auto part = ByteView(built.journal).subspan(offset, out.size());
        std::copy(part.begin(), part.end(), out.begin());
        return {};
      };
      REQUIRE(now.extend(source, end, earlier));
      const auto whole = Provenance::parse(ByteView(built.journal).first(end)).value();
      REQUIRE(now.valid_bytes() == built.ends[at]);
      REQUIRE(earlier.valid_bytes() == from);
      REQUIRE(now.item_count() == whole.item_count());
      for (ItemId id = 0; id <= whole.item_count() + 1; ++id) {
        REQUIRE(text_of(now.find(id)) == text_of(whole.find(id)));
        REQUIRE(text_of(earlier.find(id)) == text_of(shorter.find(id)));
      }
      for (std::uint64_t record = 39; record < 54; ++record) {
        REQUIRE(text_of(now.find_by_record(record)) == text_of(whole.find_by_record(record)));
        REQUIRE(text_of(earlier.find_by_record(record)) == text_of(shorter.find_by_record(record)));
      }
      for (int i = 0; i < 9; ++i) {
        const auto name = path("p" + std::to_string(i));
        REQUIRE(text_of(now.find_by_base(name)) == text_of(whole.find_by_base(name)));
        REQUIRE(text_of(earlier.find_by_base(name)) == text_of(shorter.find_by_base(name)));
      }
    }
  }
}

// What a store of many items should say, told the simple way.
struct PlainItems {
  std::map<ItemId, ItemState> items;
  std::map<std::uint64_t, ItemId> by_record;
  std::map<std::string, ItemId> by_base;

  void forget_record(const ItemState& item) {
    if (const auto at = by_record.find(item.identity.record); at != by_record.end() && at->second == item.id)
      by_record.erase(at);
  }
};

TEST_CASE("thousands of items, in folders and out of them, are told from each other and found again") {
  auto random = support::seeded_random();
  ItemStore store;
  PlainItems plain;
  std::vector<ItemId> live;
  ItemId last = 0;
  const auto random_path = [&] {
    std::string text;
    for (auto depth = random() % 4; depth != 0; --depth)
      text += (text.empty() ? "d" : "/d") + std::to_string(random() % 12);
    if (random() % 3 != 0) text += (text.empty() ? "f" : "/f") + std::to_string(random() % 400);
    return path(text);
  };
  for (int i = 0; i < 20'000; ++i) {
    if (live.empty() || random() % 3 != 0) {
      ItemState item;
      item.id = last += 1 + (random() % 50 == 0 ? random() % 1000 : 0);
      item.identity = {random() % 9000, static_cast<std::uint16_t>(random()), random()};
      if (random() % 100 == 0) item.identity.record = (std::uint64_t{1} << 48) - 1 - random() % 3;
      item.base_path = random_path();
      item.entry = file_entry(random() % 3 == 0 ? random() >> 8 : random() % 10'000);
      item.entry.metadata.created_100ns = random() % 2 == 0 ? item.identity.created_100ns : random();
      item.entry.metadata.written_100ns =
          random() % 2 == 0 ? item.entry.metadata.created_100ns - random() % 1000 : random();
      item.entry.metadata.attributes = static_cast<std::uint32_t>(random());
      if (random() % 2 == 0)
        item.entry.metadata.security = Bytes(random() % 90, static_cast<std::byte>(i % 7));
      if (random() % 2 == 0) item.entry.streams.clear();
      if (random() % 9 == 0) item.entry.link_target = "somewhere/else";
      if (random() % 9 == 0) item.entry.link_group = random();
      if (random() % 9 == 0) item.entry.reparse_tag = static_cast<std::uint32_t>(random());
      REQUIRE(store.publish(item));
      item.streams[""].base_limit = item.entry.size_bytes;
      for (const auto& stream : item.entry.streams) item.streams[stream.name].base_limit = stream.size_bytes;
      plain.by_record[item.identity.record] = item.id;
      plain.by_base[item.base_path.text()] = item.id;
      live.push_back(item.id);
      plain.items[item.id] = item;
      continue;
    }
    const auto at = random() % live.size();
    auto& item = plain.items.at(live[at]);
    const auto row = store.find(item.id);
    switch (random() % 4) {
      case 0:
        REQUIRE(store.populate(row));
        item.populated = true;
        break;
      case 1: {
        const auto block = random() % 2 == 0 ? random() % 5 : random() >> 20;
        const std::vector<BlockTag> tags(random() % 4, random());
        REQUIRE(store.load(row, "", block, tags));
        for (std::size_t k = 0; k < tags.size(); ++k) item.streams[""].tags[block + k] = tags[k];
        break;
      }
      case 2: {
        const ItemIdentity identity{random() % 9000, static_cast<std::uint16_t>(random()), random()};
        REQUIRE(store.identify(row, identity));
        plain.forget_record(item);
        item.previous_identity = item.identity;
        item.identity = identity;
        plain.by_record[identity.record] = item.id;
        break;
      }
      default:
        REQUIRE(store.withdraw(row));
        item.withdrawn = true;
        plain.forget_record(item);
        if (plain.by_base[item.base_path.text()] == item.id) plain.by_base.erase(item.base_path.text());
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  REQUIRE(store.size() == plain.items.size());
  for (const auto& [id, item] : plain.items) {
    const auto row = store.find(id);
    REQUIRE(row != ItemStore::kNone);
    const auto state = store.state(row, store.now());
    REQUIRE(text_of(std::make_shared<ItemState>(state)) == text_of(std::make_shared<ItemState>(item)));
    REQUIRE(state.entry == item.entry);
    REQUIRE(store.record(row) == item.identity.record);
    const auto found = store.find_by_base(item.base_path.text());
    const auto wanted = plain.by_base.find(item.base_path.text());
    REQUIRE((found == ItemStore::kNone ? 0 : store.id(found)) ==
            (wanted == plain.by_base.end() ? 0 : wanted->second));
  }
  for (ItemId id = 0; id < last + 2; ++id)
    if (plain.items.count(id) == 0) REQUIRE(store.find(id) == ItemStore::kNone);
  for (std::uint64_t record = 0; record < 9001; ++record) {
    const auto found = store.find_by_record(record);
    const auto wanted = plain.by_record.find(record);
    REQUIRE((found == ItemStore::kNone ? 0 : store.id(found)) ==
            (wanted == plain.by_record.end() ? 0 : wanted->second));
  }
  for (const char* none : {"x", "d1/", "/d1", "d1/d2/d3/d4/f1", "1"})
    CHECK(store.find_by_base(none) == ItemStore::kNone);
  CHECK(store.find_by_record(~std::uint64_t{0}) == ItemStore::kNone);
  CHECK_FALSE(store.publish(
      ItemState{last + 1, {std::uint64_t{1} << 48, 0, 0}, {}, {}, {}, false, false, false, 0, {}}));
}

TEST_CASE("a journal longer than what is read at once is replayed whole") {
  Bytes journal = encode_header(header());
  const std::vector<BlockTag> tags(kMaxTagsPerRecord, 5);
  append(journal, encode_published(1, {40, 0, 1000}, path("big"), file_entry(std::uint64_t{1} << 40)));
  std::uint64_t block = 0;
  while (journal.size() < (9u << 20)) {
    append(journal, encode_loaded(1, "", block, tags));
    block += tags.size();
    append(journal, encode_base_limit(1, "Zone.Identifier", 20));
  }
  const auto provenance = Provenance::parse(journal).value();
  CHECK(provenance.valid_bytes() == journal.size());
  CHECK(provenance.find(1)->streams.at("").tags.size() == block);
  journal[journal.size() - 1] ^= std::byte{1};
  CHECK(Provenance::parse(journal).value().valid_bytes() ==
        journal.size() - encode_base_limit(1, "Zone.Identifier", 20).size());
  const auto fails = Provenance::parse(
      [&](std::uint64_t offset, MutableByteView out) -> Result<void> {
        if (offset != 0) return fail(ErrorCode::io, "cannot read");
        std::copy(journal.begin(), journal.begin() + static_cast<std::ptrdiff_t>(out.size()), out.begin());
        return {};
      },
      journal.size());
  CHECK(fails.error().code == ErrorCode::io);
}

TEST_CASE("a journal of a later version is refused by name") {
  auto built = sample();
  built.journal[8] = std::byte{2};
  auto provenance = Provenance::parse(built.journal);
  REQUIRE_FALSE(provenance.has_value());
  CHECK(provenance.error().code == ErrorCode::unsupported);
}

TEST_CASE("records have the bytes that the format page shows") {
  const auto hex = [](const Bytes& bytes) {
    std::string text;
    for (auto byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
  };
  CHECK(hex(encode_populated(1)) == "bab43bd108000000030000000100000000000000");
  CHECK(hex(encode_base_limit(2, "", 6000)) ==
        "d6eee0171800000006000000020000000000000000000000000000007017000000000000");
}

TEST_CASE("a tag is never zero and differs with the block's bytes and length") {
  Bytes zeros(kTagBlockBytes);
  CHECK(block_tag(zeros) != 0);
  CHECK(block_tag(zeros) != block_tag(ByteView(zeros).first(100)));
  CHECK(block_tag(as_bytes("abc")) == 0xeacf018fbf1678baULL);  // SHA-256 of "abc" begins ba7816bf8f01cfea
}

}  // namespace
}  // namespace roamstead::extract
