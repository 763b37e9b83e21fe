#include "coordinator/repository/content.h"

#include <algorithm>

#include "coordinator/repository/chunker.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

// An object store of its own, without a repository around it.
struct Store {
  Store() {
    auto& files = os::real_file_system();
    REQUIRE(files.make_directories(place / "packs"));
    REQUIRE(Keystore::create(files, place.path()));
    keys = Keystore::open(files, place.path()).value();
    packs = std::make_unique<PackStore>(files, place.path(), keys->repository());
    auto epoch = packs->claim_epoch().value();
    REQUIRE(keys->take_over(epoch));
    profile = keys->add_profile("test", 1).value().id;
    catalog = Catalog::open(place / "catalog.db", keys->repository(), true).value();
    objects_store =
        std::make_unique<ObjectStore>(*packs, *keys, *catalog, epoch, Faults(), ObjectStore::Limits());
    objects = std::make_unique<ProfileObjects>(*objects_store, profile);
  }
  support::TemporaryDirectory place;
  std::unique_ptr<Keystore> keys;
  std::unique_ptr<PackStore> packs;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<ObjectStore> objects_store;
  std::unique_ptr<ProfileObjects> objects;
  ProfileId profile;
};

// A stream and the bytes it should have.
struct Stream {
  Content content{Bytes{}};
  Bytes bytes;
};

struct ChangeCost {
  std::uint64_t new_bytes = 0;
};

ChangeCost change(Store& store, Stream& stream, std::size_t new_size, std::vector<ByteRange> writes,
                  const Bytes& written) {
  ContentChange wanted;
  wanted.base = &stream.content;
  wanted.base_bytes = stream.bytes.size();
  wanted.size_bytes = new_size;
  wanted.writes = std::move(writes);
  auto expected = stream.bytes;
  expected.resize(new_size);
  for (auto write : wanted.writes)
    std::copy_n(written.begin() + static_cast<std::ptrdiff_t>(write.offset), write.length,
                expected.begin() + static_cast<std::ptrdiff_t>(write.offset));
  wanted.read_written = [&](std::uint64_t offset, MutableByteView out) -> Result<void> {
    auto inside = std::any_of(wanted.writes.begin(), wanted.writes.end(), [&](ByteRange write) {
      return offset >= write.offset && offset + out.size() <= write.end();
    });
    REQUIRE(inside);
    std::copy_n(written.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  };
  auto before = store.objects->new_bytes();
  auto made = change_content(*store.objects, wanted);
  REQUIRE_MESSAGE(made, made.error().to_string());
  stream.content = std::move(*made);
  stream.bytes = std::move(expected);
  return {store.objects->new_bytes() - before};
}

void check_stream(Store& store, const Stream& stream) {
  Bytes found(stream.bytes.size());
  auto read = read_content(*store.objects, stream.content, stream.bytes.size(), 0, found);
  REQUIRE_MESSAGE(read, read.error().to_string());
  REQUIRE(found == stream.bytes);
}

std::uint64_t count_pieces(Store& store, const Content& content) {
  std::uint64_t count = 0;
  REQUIRE(visit_pieces(*store.objects, content, 0,
                       [&](std::uint64_t, const Piece&) -> Result<bool> { return ++count > 0; }));
  return count;
}

}  // namespace

TEST_CASE("a stream changed at random has the bytes that the changes say, whatever form it takes") {
  auto random = support::seeded_random();
  Store store;
  auto noise = random_bytes(random, 4u << 20);
  for (int history = 0; history < 6; ++history) {
    Stream stream;
    for (int round = 0; round < 25; ++round) {
      static constexpr std::size_t kSizes[] = {0,       10,      1024,    1025,     16384,
                                               100'000, 262'144, 700'000, 3u << 20, 4u << 20};
      auto size = random() % 3 != 0 ? stream.bytes.size() : kSizes[random() % std::size(kSizes)];
      if (random() % 4 == 0 && size > 0) size -= random() % std::min<std::size_t>(size, 3000);
      RangeSet ranges;
      if (size > 0)
        for (auto count = random() % 5; count-- > 0;) {
          auto offset = random() % size;
          ranges.add({offset, 1 + random() % std::min<std::uint64_t>(size - offset,
                                                                     random() % 2 == 0 ? 5000 : 600'000)});
        }
      // Zeros are written too: runs of them have a form of their own.
      auto written = noise;
      std::rotate(written.begin(), written.begin() + static_cast<std::ptrdiff_t>(random() % written.size()),
                  written.end());
      if (random() % 3 == 0) std::fill(written.begin(), written.end(), std::byte{0});
      change(store, stream, size, ranges.ranges(), written);
      check_stream(store, stream);
      if (size > 0) {
        Bytes part(random() % std::min<std::size_t>(size, 300'000));
        auto offset = random() % (size - part.size());
        REQUIRE(read_content(*store.objects, stream.content, size, offset, part));
        CHECK(
            std::equal(part.begin(), part.end(), stream.bytes.begin() + static_cast<std::ptrdiff_t>(offset)));
      }
      CHECK(parse_node(encode_node([&] {
              Node node;
              node.entry.size_bytes = size;
              node.unnamed = stream.content;
              return node;
            }()))
                ->unnamed == stream.content);
    }
  }
}

TEST_CASE("the cost of a change follows the change, not the file") {
  std::mt19937_64 random(3);
  Store store;
  Stream stream;
  auto noise = random_bytes(random, 24u << 20);
  auto first = change(store, stream, noise.size(), {{0, noise.size()}}, noise);
  CHECK(first.new_bytes > noise.size());
  CHECK(std::holds_alternative<ObjectId>(stream.content.where));
  for (int round = 0; round < 10; ++round) {
    auto other = random_bytes(random, 4096);
    auto written = stream.bytes;
    auto offset = random() % (written.size() - 4096);
    std::copy(other.begin(), other.end(), written.begin() + static_cast<std::ptrdiff_t>(offset));
    auto cost = change(store, stream, written.size(), {{offset, 4096}}, written);
    CHECK(cost.new_bytes < 1'000'000);
  }
  check_stream(store, stream);
  auto grown = stream.bytes;
  grown.resize(grown.size() + 100, std::byte{5});
  auto cost = change(store, stream, grown.size(), {{grown.size() - 100, 100}}, grown);
  CHECK(cost.new_bytes < 400'000);
  auto again = change(store, stream, grown.size(), {{12345, 4096}}, stream.bytes);
  CHECK(again.new_bytes == 0);
  check_stream(store, stream);
}

TEST_CASE("holes cost nothing, and a write far into one splits it") {
  Store store;
  Stream stream;
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;
  ContentChange wanted;
  wanted.size_bytes = kHuge;
  auto made = change_content(*store.objects, wanted);
  REQUIRE(made);
  CHECK(count_pieces(store, *made) == 1);
  CHECK(store.objects->new_bytes() == 0);
  auto hole = *made;
  auto letters = to_bytes(std::string(5000, 'x'));
  wanted.base = &hole;
  wanted.base_bytes = kHuge;
  wanted.writes = {{kHuge / 3, 5000}, {kHuge / 2, 5000}};
  wanted.read_written = [&](std::uint64_t, MutableByteView out) -> Result<void> {
    std::copy_n(letters.begin(), out.size(), out.begin());
    return {};
  };
  auto split = change_content(*store.objects, wanted);
  REQUIRE(split);
  CHECK(count_pieces(store, *split) == 5);
  for (auto start : {kHuge / 3, kHuge / 2}) {
    Bytes part(5002);
    REQUIRE(read_content(*store.objects, *split, kHuge, start - 1, part));
    CHECK(part.front() == std::byte{0});
    CHECK(part[1] == std::byte{'x'});
    CHECK(part[5000] == std::byte{'x'});
    CHECK(part[5001] == std::byte{0});
  }
  auto third = *split;
  wanted.base = &third;
  wanted.size_bytes = kMaxStreamBytes + 1;
  CHECK(change_content(*store.objects, wanted).error().code == ErrorCode::unsupported);
}
