#include "coordinator/repository/chunker.h"

#include <doctest/doctest.h>

#include <set>

#include "common/base/crc32c.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

static Bytes random_bytes(std::mt19937_64& random, std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i + 8 <= size; i += 8) store_le(bytes, i, random());
  return bytes;
}

static std::vector<std::size_t> cuts(ByteView data) {
  std::vector<std::size_t> found;
  for (std::size_t at = 0; at < data.size();) {
    at += first_chunk_bytes(data.subspan(at));
    found.push_back(at);
  }
  return found;
}

TEST_CASE("chunks keep their bounds and are 64 KiB on average, more or less") {
  auto random = support::seeded_random();
  auto data = random_bytes(random, 32u << 20);
  auto found = cuts(data);
  std::size_t before = 0;
  for (auto cut : found) {
    CHECK(cut - before <= kMaxChunkBytes);
    if (cut != data.size()) CHECK(cut - before > kMinChunkBytes);
    before = cut;
  }
  auto mean = data.size() / found.size();
  CHECK(mean > kMeanChunkBytes * 3 / 4);
  CHECK(mean < kMeanChunkBytes * 5 / 4);
  CHECK(first_chunk_bytes({}) == 0);
  CHECK(first_chunk_bytes(ByteView(data).first(100)) == 100);
}

TEST_CASE("the cuts are frozen: they are the same in every version of the program") {
  std::mt19937_64 random(42);
  auto data = random_bytes(random, 1u << 20);
  ByteWriter positions;
  for (auto cut : cuts(data)) positions.le(static_cast<std::uint32_t>(cut));
  CHECK(crc32c(positions.view()) == 1514509534);
}

TEST_CASE("a cut depends on its own chunk alone, and looks no further than the longest chunk") {
  auto random = support::seeded_random();
  auto data = random_bytes(random, kMaxChunkBytes);
  auto length = first_chunk_bytes(data);
  for (auto i = length; i < data.size(); ++i) data[i] = static_cast<std::byte>(random());
  CHECK(first_chunk_bytes(data) == length);
  CHECK(first_chunk_bytes(ByteView(data).first(length)) == length);
}

TEST_CASE("after an insertion the cuts fall into step again") {
  auto random = support::seeded_random();
  auto data = random_bytes(random, 8u << 20);
  auto longer = data;
  longer.insert(longer.begin() + (2 << 20), std::byte{7});
  std::set<std::size_t> from_end;
  for (auto cut : cuts(data)) from_end.insert(data.size() - cut);
  std::size_t shared = 0, total = 0;
  for (auto cut : cuts(longer)) {
    if (cut < (2u << 20)) continue;
    ++total;
    shared += from_end.count(longer.size() - cut);
  }
  CHECK(shared + 6 >= total);
}

TEST_CASE("zeros are cut at the longest chunk, as runs of zeros in chunk lists assume") {
  Bytes zeros(kMaxChunkBytes);
  CHECK(first_chunk_bytes(zeros) == kMaxChunkBytes);
}
