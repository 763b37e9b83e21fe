#include <doctest/doctest.h>

#include "agent/win/usn_journal.h"
#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

Bytes record(std::uint64_t folder, std::size_t name_bytes) {
  Bytes bytes((60 + name_bytes + 7) / 8 * 8);
  store_le<std::uint32_t>(bytes, 0, static_cast<std::uint32_t>(bytes.size()));
  store_le<std::uint16_t>(bytes, 4, 2);
  store_le<std::uint64_t>(bytes, 8, 77);
  store_le<std::uint64_t>(bytes, 16, folder);
  return bytes;
}

Bytes answer(std::int64_t next, const std::vector<Bytes>& records) {
  Bytes bytes(8);
  store_le<std::uint64_t>(bytes, 0, static_cast<std::uint64_t>(next));
  for (const auto& each : records) bytes.insert(bytes.end(), each.begin(), each.end());
  return bytes;
}

TEST_CASE("folders are taken from a change journal's records, without their sequence numbers") {
  std::int64_t next = 0;
  std::set<std::uint64_t> folders;
  CHECK(add_folders(answer(4711, {record(0x0003'0000'0000'0028, 6), record(0x41, 20)}), next, folders));
  CHECK(next == 4711);
  CHECK(folders == std::set<std::uint64_t>{0x28, 0x41});
  CHECK(add_folders(answer(4712, {}), next, folders));
  CHECK(next == 4712);
}

TEST_CASE("what is not as documented is no answer") {
  auto random = support::seeded_random();
  const auto good = answer(1, {record(5, 6), record(6, 8)});
  std::int64_t next = 0;
  std::set<std::uint64_t> folders;
  for (std::size_t size = 0; size < good.size(); ++size) {
    const bool whole = size == 8 || size == 8 + record(5, 6).size();
    CHECK(add_folders(ByteView(good).first(size), next, folders) == whole);
  }
  auto other = good;
  store_le<std::uint16_t>(other, 8 + 4, 3);  // a later version
  CHECK_FALSE(add_folders(other, next, folders));
  for (int i = 0; i < 2000; ++i) {
    auto damaged = good;
    for (auto count = 1 + random() % 4; count > 0; --count)
      damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    (void)add_folders(damaged, next, folders);
  }
}

}  // namespace
}  // namespace roamstead::agent
