#include "common/base/sha256.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/seed.h"

namespace roamstead {
namespace {

std::string hex(const Sha256Digest& digest) {
  std::string text;
  for (auto byte : digest) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

struct KnownAnswer {
  std::string message;
  const char* digest;
};

TEST_CASE("SHA-256 gives the published answers") {
  const KnownAnswer answers[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& answer : answers) {
    CHECK(hex(sha256(as_bytes(answer.message))) == answer.digest);
    CHECK(hex(internal::sha256_portable(as_bytes(answer.message))) == answer.digest);
  }
}

TEST_CASE("SHA-256 by the processor equals the portable one at every length") {
  auto random = support::seeded_random();
  Bytes data(400);
  for (auto& byte : data) byte = static_cast<std::byte>(random());
  for (std::size_t length = 0; length <= data.size(); ++length) {
    ByteView view(data.data(), length);
    CHECK(hex(sha256(view)) == hex(internal::sha256_portable(view)));
  }
}

}  // namespace
}  // namespace roamstead
