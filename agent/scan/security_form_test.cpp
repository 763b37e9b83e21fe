#include "agent/scan/security_form.h"

#include <doctest/doctest.h>

#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

struct Layout {
  bool access_first = false;   // as NTFS keeps it; otherwise as Windows gives it
  bool with_system = false;    // a system access list
  std::size_t free_bytes = 0;  // at the access list's end
  std::uint16_t control = 0x8004;
  std::uint8_t mask = 0xFF;
};

Bytes sid(std::uint32_t last) {
  ByteWriter bytes;
  bytes.le<std::uint16_t>(0x0201);  // revision 1, two authorities
  bytes.bytes(Bytes(5, std::byte{0}));
  bytes.le<std::uint8_t>(5);
  bytes.le<std::uint32_t>(32);
  bytes.le<std::uint32_t>(last);
  return to_bytes(bytes.view());
}

Bytes list(std::uint8_t mask, std::size_t free_bytes) {
  const auto who = sid(545);
  ByteWriter bytes;
  bytes.le<std::uint16_t>(2);
  bytes.le<std::uint16_t>(static_cast<std::uint16_t>(8 + 8 + who.size() + free_bytes));
  bytes.le<std::uint32_t>(1);
  bytes.le<std::uint16_t>(0x0300);
  bytes.le<std::uint16_t>(static_cast<std::uint16_t>(8 + who.size()));
  bytes.le<std::uint32_t>(mask);
  bytes.bytes(who);
  bytes.bytes(Bytes(free_bytes, std::byte{0xCC}));
  return to_bytes(bytes.view());
}

Bytes descriptor(const Layout& layout) {
  Bytes bytes(20);
  store_le<std::uint16_t>(bytes, 0, 1);
  store_le<std::uint16_t>(bytes, 2, layout.control);
  const auto add = [&](std::size_t field, const Bytes& part) {
    store_le<std::uint32_t>(bytes, field, static_cast<std::uint32_t>(bytes.size()));
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  if (layout.with_system) add(12, list(1, 0));
  if (layout.access_first) add(16, list(layout.mask, layout.free_bytes));
  add(4, sid(544));
  add(8, sid(513));
  if (!layout.access_first) add(16, list(layout.mask, layout.free_bytes));
  return bytes;
}

TEST_CASE("descriptors are compared by what they say, not by where it lies") {
  const auto one = descriptor({});
  CHECK(says_the_same(one, descriptor({.access_first = true})));
  CHECK(says_the_same(one, descriptor({.with_system = true, .free_bytes = 8})));
  CHECK(says_the_same(one, descriptor({.control = 0x8005})));  // its owner by default
  CHECK_FALSE(says_the_same(one, descriptor({.mask = 0x7F})));
  CHECK_FALSE(says_the_same(one, descriptor({.control = 0x9004})));  // protected
  CHECK_FALSE(says_the_same(one, descriptor({.control = 0x8000})));  // everybody may everything
  CHECK_FALSE(says_the_same(one, {}));
  CHECK(says_the_same({}, {}));
}

TEST_CASE("damaged descriptors equal nothing but themselves, and are read within their bounds") {
  auto random = support::seeded_random();
  const auto good = descriptor({});
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto part = ByteView(good).first(size);
    CHECK_FALSE(says_the_same(part, good));
    CHECK(says_the_same(part, Bytes(part.begin(), part.end())));
  }
  for (int i = 0; i < 2000; ++i) {
    auto bytes = good;
    for (auto count = 1 + random() % 4; count > 0; --count)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    const bool same = says_the_same(bytes, good);
    CHECK(same == says_the_same(good, bytes));
  }
}

}  // namespace
}  // namespace roamstead::agent
