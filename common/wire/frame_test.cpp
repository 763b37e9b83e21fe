#include "common/wire/frame.h"

#include <doctest/doctest.h>

#include "tests/support/seed.h"

namespace roamstead::wire {
namespace {

Result<Frame> parse(ByteView bytes) {
  ByteReader reader(bytes);
  RS_TRY(auto head, reader.take(kFrameHeaderBytes));
  RS_TRY(auto header, parse_frame_header(head));
  RS_TRY(auto payload, reader.take(header.payload_bytes));
  return Frame{header.type, header.compressed, header.request, to_bytes(payload)};
}

TEST_CASE("a frame comes back as it was sent, compressed or not") {
  auto random = support::seeded_random();
  for (std::size_t size : {0u, 1u, 255u, 256u, 5000u, 2u << 20}) {
    Bytes same(size, std::byte{'x'});
    Bytes noise(size);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    for (const auto& payload : {same, noise})
      for (auto compression : {Compression::no, Compression::if_smaller, Compression::thorough}) {
        auto frame = parse(encode_frame(FrameType::read_reply, 77, payload, compression));
        REQUIRE(frame);
        CHECK(frame->type == FrameType::read_reply);
        CHECK(frame->request == 77);
        auto plain = plain_payload(std::move(*frame));
        REQUIRE(plain);
        CHECK(*plain == payload);
      }
  }
  CHECK(encode_frame(FrameType::read_reply, 1, Bytes(1 << 20), Compression::if_smaller).size() < 1000);
}

TEST_CASE("what gains from compression is compressed, wherever in it the gain lies") {
  auto random = support::seeded_random();
  Bytes payload(1u << 20);
  for (auto& byte : payload) byte = static_cast<std::byte>(random());
  auto frame_bytes = [&] {
    return encode_frame(FrameType::read_reply, 1, payload, Compression::if_smaller).size();
  };
  CHECK(frame_bytes() == kFrameHeaderBytes + payload.size());
  const auto quarter = static_cast<std::ptrdiff_t>(payload.size() / 4);
  for (std::ptrdiff_t at = 0; at < 4; ++at) {
    CAPTURE(at);
    const auto noise = payload;
    std::fill_n(payload.begin() + at * quarter, quarter, std::byte{'x'});
    CHECK(frame_bytes() < payload.size() * 8 / 10);
    payload = noise;
  }
}

TEST_CASE("thoroughly means that a small part which can be compressed, in noise, is") {
  auto random = support::seeded_random();
  Bytes payload(256u << 10);
  for (auto& byte : payload) byte = static_cast<std::byte>(random());
  // Between the places that a quick look is taken at.
  const auto page = std::size_t{4096};
  for (std::size_t at = 4 * page; at + page < payload.size() / 4; at += 2 * page)
    std::fill_n(payload.begin() + static_cast<std::ptrdiff_t>(at), page, std::byte{'x'});
  const auto size = [&](Compression compression) {
    return encode_frame(FrameType::batch_part, 1, payload, compression).size();
  };
  CHECK(size(Compression::if_smaller) == kFrameHeaderBytes + payload.size());
  CHECK(size(Compression::thorough) < payload.size() - 5 * page);
}

TEST_CASE("a header with an unknown type, an unknown flag or too long a payload is refused") {
  auto header = [](std::uint32_t size, std::uint8_t type, std::uint8_t flags, std::uint16_t zero) {
    Bytes bytes(kFrameHeaderBytes);
    store_le<std::uint32_t>(bytes, 0, size);
    store_le<std::uint8_t>(bytes, 4, type);
    store_le<std::uint8_t>(bytes, 5, flags);
    store_le<std::uint16_t>(bytes, 6, zero);
    return parse_frame_header(bytes);
  };
  constexpr auto kAfterLast = static_cast<std::uint8_t>(kLastFrameType) + 1;
  CHECK(header(100, 6, 0, 0));
  CHECK(header(100, kAfterLast - 1, 0, 0));
  CHECK(header(kMaxPayloadBytes, 6, 1, 0));
  for (const auto& refused :
       {header(kMaxPayloadBytes + 1, 6, 0, 0), header(0xffffffff, 6, 0, 0), header(1, 0, 0, 0),
        header(1, kAfterLast, 0, 0), header(1, 255, 0, 0), header(1, 6, 2, 0), header(1, 6, 0, 1)}) {
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::protocol);
  }
}

TEST_CASE("a compressed payload that lies about its size is refused") {
  auto good = parse(encode_frame(FrameType::batch_part, 1, Bytes(100'000), Compression::if_smaller));
  REQUIRE(good);
  REQUIRE(good->compressed);
  for (std::uint32_t claim : {0u, 99'999u, 100'001u, 2u << 20, 0xffffffffu}) {
    auto lie = *good;
    store_le<std::uint32_t>(lie.payload, 0, claim);
    CHECK(!plain_payload(std::move(lie)));
  }
  for (std::size_t length = 0; length < good->payload.size(); ++length) {
    auto cut = *good;
    cut.payload.resize(length);
    CHECK(!plain_payload(std::move(cut)));
  }
}

TEST_CASE("flipped bits never do more than fail") {
  auto random = support::seeded_random();
  Bytes payload(3000);
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::byte>(i / 7);
  auto frame = encode_frame(FrameType::batch_part, 1, payload, Compression::if_smaller);
  for (int i = 0; i < 3000; ++i) {
    auto bent = frame;
    bent[random() % bent.size()] ^= static_cast<std::byte>(1 << random() % 8);
    auto parsed = parse(bent);
    if (!parsed) continue;
    auto plain = plain_payload(std::move(*parsed));
    if (plain) CHECK(plain->size() <= kMaxPayloadBytes);
  }
}

}  // namespace
}  // namespace roamstead::wire
