#include "common/wire/frame.h"

#include <zstd.h>

#include <array>

namespace roamstead::wire {
namespace {

constexpr std::uint8_t kCompressedFlag = 1;
// Below this a zstd frame's own overhead eats the gain.
constexpr std::size_t kLeastWorthCompressing = 256;
constexpr int kFastLevel = 1;
constexpr int kThoroughLevel = 3;

void store_header(MutableByteView out, FrameType type, bool compressed, std::uint64_t request,
                  std::size_t payload_bytes) {
  store_le<std::uint32_t>(out, 0, static_cast<std::uint32_t>(payload_bytes));
  store_le<std::uint8_t>(out, 4, static_cast<std::uint8_t>(type));
  store_le<std::uint8_t>(out, 5, compressed ? kCompressedFlag : 0);
  store_le<std::uint16_t>(out, 6, 0);
  store_le<std::uint64_t>(out, 8, request);
}

// Pictures, archives and the like gain nothing, and trying it on all of them costs more than sealing them: a
// few parts of a large payload tell. Wrong guesses cost some bytes or some time, nothing else.
constexpr std::size_t kSampledFrom = 32u << 10;
constexpr std::size_t kSampleBytes = 2048;
constexpr std::size_t kSamples = 4;

bool looks_incompressible(ByteView payload) {
  if (payload.size() < kSampledFrom) return false;
  std::array<std::byte, kSampleBytes> packed;
  for (std::size_t i = 0; i < kSamples; ++i) {
    const auto sample = payload.subspan((payload.size() - kSampleBytes) / (kSamples - 1) * i, kSampleBytes);
    const auto size = ZSTD_compress(packed.data(), packed.size(), sample.data(), sample.size(), kFastLevel);
    // One that shrinks by a sixteenth is reason enough to try.
    if (ZSTD_isError(size) == 0 && size <= kSampleBytes - kSampleBytes / 16) return false;
  }
  return true;
}

// Empty when compression does not make it smaller.
Bytes compressed_frame(FrameType type, std::uint64_t request, ByteView payload, Compression compression) {
  if (compression == Compression::if_smaller && looks_incompressible(payload)) return {};
  constexpr std::size_t kOverhead = kFrameHeaderBytes + sizeof(std::uint32_t);
  Bytes frame(kOverhead + payload.size());
  auto written = ZSTD_compress(frame.data() + kOverhead, payload.size(), payload.data(), payload.size(),
                               compression == Compression::thorough ? kThoroughLevel : kFastLevel);
  if (ZSTD_isError(written) != 0 || written + sizeof(std::uint32_t) >= payload.size()) return {};
  frame.resize(kOverhead + written);
  store_header(frame, type, true, request, sizeof(std::uint32_t) + written);
  store_le<std::uint32_t>(frame, kFrameHeaderBytes, static_cast<std::uint32_t>(payload.size()));
  return frame;
}

}  // namespace

Bytes encode_frame(FrameType type, std::uint64_t request, ByteView payload, Compression compression) {
  if (compression != Compression::no && payload.size() >= kLeastWorthCompressing)
    if (auto frame = compressed_frame(type, request, payload, compression); !frame.empty()) return frame;
  Bytes frame(kFrameHeaderBytes + payload.size());
  store_header(frame, type, false, request, payload.size());
  if (!payload.empty()) std::memcpy(frame.data() + kFrameHeaderBytes, payload.data(), payload.size());
  return frame;
}

Result<FrameHeader> parse_frame_header(ByteView header, std::size_t limit) {
  if (header.size() != kFrameHeaderBytes)
    return fail(ErrorCode::protocol, "a frame header of " + std::to_string(header.size()) + " bytes");
  FrameHeader parsed;
  parsed.payload_bytes = load_le<std::uint32_t>(header, 0);
  auto type = load_le<std::uint8_t>(header, 4);
  auto flags = load_le<std::uint8_t>(header, 5);
  if (type < static_cast<std::uint8_t>(FrameType::hello) || type > static_cast<std::uint8_t>(kLastFrameType))
    return fail(ErrorCode::protocol, "a frame of unknown type " + std::to_string(type));
  if ((flags & ~kCompressedFlag) != 0 || load_le<std::uint16_t>(header, 6) != 0)
    return fail(ErrorCode::protocol, "a frame with unknown flags " + std::to_string(flags));
  if (parsed.payload_bytes > limit)
    return fail(ErrorCode::protocol, "a frame of " + std::to_string(parsed.payload_bytes) +
                                         " bytes where at most " + std::to_string(limit) + " are allowed");
  parsed.type = static_cast<FrameType>(type);
  parsed.compressed = (flags & kCompressedFlag) != 0;
  parsed.request = load_le<std::uint64_t>(header, 8);
  return parsed;
}

Result<Bytes> plain_payload(Frame frame) {
  if (!frame.compressed) return std::move(frame.payload);
  ByteReader reader(frame.payload);
  auto plain_bytes = reader.le<std::uint32_t>();
  if (!plain_bytes) return fail(ErrorCode::protocol, "a compressed frame without its size");
  if (*plain_bytes > kMaxPayloadBytes)
    return fail(ErrorCode::protocol,
                "a compressed frame that claims " + std::to_string(*plain_bytes) + " bytes");
  auto packed = ByteView(frame.payload).subspan(reader.offset());
  // The zstd frame knows its size too; asking it first keeps a liar from having memory set aside.
  if (ZSTD_getFrameContentSize(packed.data(), packed.size()) != *plain_bytes)
    return fail(ErrorCode::protocol, "a compressed frame whose sizes disagree");
  Bytes plain(*plain_bytes);
  auto got = ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) != 0 || got != plain.size())
    return fail(ErrorCode::protocol, "a compressed frame that cannot be decompressed");
  return plain;
}

}  // namespace roamstead::wire
