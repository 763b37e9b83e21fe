#include "agent/hook/stub_layout.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/support/seed.h"

namespace roamstead::hook {
namespace {

// As Windows 10 and 11 have NtCreateFile (55h), and Wine 8 (1dh): equal in what is read.
constexpr std::array<std::uint8_t, 24> kStub64{0x4C, 0x8B, 0xD1, 0xB8, 0x55, 0x00, 0x00, 0x00,
                                               0xF6, 0x04, 0x25, 0x08, 0x03, 0xFE, 0x7F, 0x01,
                                               0x75, 0x03, 0x0F, 0x05, 0xC3, 0xCD, 0x2E, 0xC3};
constexpr std::array<std::uint8_t, 15> kStub32{0xB8, 0x55, 0x00, 0x1B, 0x00, 0xBA, 0x70, 0x8E,
                                               0x3D, 0x4B, 0xFF, 0xD2, 0xC2, 0x2C, 0x00};
constexpr std::uintptr_t kPlace = 0x7FFE1000;

TEST_CASE("the stubs of Windows are recognised, with their numbers") {
  Stub64 wide;
  CHECK(read_stub(kStub64.data(), kPlace, wide));
  CHECK(wide.number == 0x55);
  auto other = kStub64;
  other[5] = 0x12;
  CHECK(read_stub(other.data(), kPlace, wide));
  CHECK(wide.number == 0x1255);
  Stub32 narrow;
  CHECK(read_stub(kStub32.data(), kPlace, narrow));
  CHECK(narrow.number == 0x1B0055);
  CHECK(narrow.thunk == 0x4B3D8E70);
  auto without_arguments = kStub32;
  without_arguments[12] = 0xC3;
  CHECK(read_stub(without_arguments.data(), kPlace, narrow));
}

TEST_CASE("a stub that differs in any byte but its number, or lies askew, is left alone") {
  Stub64 wide;
  for (std::size_t i = 0; i < Stub64::kReadBytes; ++i) {
    if (i >= 4 && i < 8) continue;
    for (int bit = 0; bit < 8; ++bit) {
      auto code = kStub64;
      code[i] = static_cast<std::uint8_t>(code[i] ^ (1u << bit));
      CHECK_FALSE(read_stub(code.data(), kPlace, wide));
    }
  }
  for (const std::uintptr_t askew : {1u, 4u, 8u})
    CHECK_FALSE(read_stub(kStub64.data(), kPlace + askew, wide));
  Stub32 narrow;
  for (const std::size_t i : {0, 5, 10, 11}) {
    auto code = kStub32;
    code[i] = 0xE9;  // as others patch
    CHECK_FALSE(read_stub(code.data(), kPlace, narrow));
  }
  auto odd = kStub32;
  odd[12] = 0xEB;
  CHECK_FALSE(read_stub(odd.data(), kPlace, narrow));
  CHECK_FALSE(read_stub(kStub32.data(), kPlace + 4, narrow));
}

TEST_CASE("what others patched is not taken for a stub") {
  auto random = support::seeded_random();
  Stub64 wide;
  Stub32 narrow;
  for (int round = 0; round < 10'000; ++round) {
    std::array<std::uint8_t, 24> code{};
    for (auto& byte : code) byte = static_cast<std::uint8_t>(random());
    CHECK_FALSE(read_stub(code.data(), kPlace, wide));
    if (code[0] != 0xB8) CHECK_FALSE(read_stub(code.data(), kPlace, narrow));
  }
  auto jumped = kStub64;
  jumped[0] = 0xE9;
  CHECK_FALSE(read_stub(jumped.data(), kPlace, wide));
}

TEST_CASE("jumps lead where they should") {
  std::uint8_t code[16];
  make_jump64(0x1122334455667788, code);
  CHECK(code[0] == 0xFF);
  CHECK(code[1] == 0x25);
  CHECK(code[2] == 2);  // the address lies 2 bytes after the instruction: at 8
  CHECK(code[8] == 0x88);
  CHECK(code[15] == 0x11);
  std::uint8_t narrow[8];
  for (const std::uint32_t target : {0x10000000u, 0x7FFE2000u, 0xF0000000u}) {
    make_jump32(static_cast<std::uint32_t>(kPlace), target, kStub32.data(), narrow);
    CHECK(narrow[0] == 0xE9);
    CHECK(static_cast<std::uint32_t>(kPlace) + 5 + detail::word_at(narrow + 1) == target);
    for (std::size_t i = 5; i < 8; ++i) CHECK(narrow[i] == kStub32[i]);
  }
}

}  // namespace
}  // namespace roamstead::hook
