#include "common/base/sha256.h"

#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace roamstead {
namespace {

constexpr std::size_t kBlockBytes = 64;
using State = std::array<std::uint32_t, 8>;
using Compress = void (*)(State& state, const std::byte* blocks, std::size_t count);

constexpr State kInitialState = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

alignas(16) constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void compress_portable(State& state, const std::byte* blocks, std::size_t count) {
  std::array<std::uint32_t, 64> words;
  for (; count != 0; --count, blocks += kBlockBytes) {
    for (std::size_t i = 0; i < 16; ++i)
      words[i] = load_be<std::uint32_t>(ByteView(blocks, kBlockBytes), i * 4);
    for (std::size_t i = 16; i < 64; ++i) {
      auto s0 = std::rotr(words[i - 15], 7) ^ std::rotr(words[i - 15], 18) ^ (words[i - 15] >> 3);
      auto s1 = std::rotr(words[i - 2], 17) ^ std::rotr(words[i - 2], 19) ^ (words[i - 2] >> 10);
      words[i] = words[i - 16] + s0 + words[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      auto t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) +
                kRound[i] + words[i];
      auto t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const State rounds = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += rounds[i];
  }
}

#if defined(__x86_64__)
// The SHA extensions keep the state as the vectors ABEF and CDGH and do two rounds per instruction.
__attribute__((target("sha,sse4.1"))) void compress_sha_extensions(State& state, const std::byte* blocks,
                                                                   std::size_t count) {
  const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  __m128i dcba = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state.data()));
  __m128i hgfe = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state.data() + 4));
  __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1);
  __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1B);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
  for (; count != 0; --count, blocks += kBlockBytes) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i words[4];
    for (int i = 0; i < 4; ++i)
      words[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks) + i), big_endian);
    for (std::size_t quad = 0; quad < 16; ++quad) {  // four rounds each
      __m128i& current = words[quad % 4];
      if (quad >= 4) {
        const __m128i next = words[(quad + 1) % 4], last = words[(quad + 3) % 4];
        current = _mm_sha256msg1_epu32(current, next);
        current = _mm_add_epi32(current, _mm_alignr_epi8(last, words[(quad + 2) % 4], 4));
        current = _mm_sha256msg2_epu32(current, last);
      }
      __m128i input =
          _mm_add_epi32(current, _mm_load_si128(reinterpret_cast<const __m128i*>(kRound.data() + quad * 4)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, input);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(input, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data()), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#endif

Compress best_compress() {
#if defined(__x86_64__)
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
  if (a < 7) return compress_portable;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
  const bool has_sse41 = (c >> 19 & 1) != 0;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  if (has_sse41 && (b >> 29 & 1) != 0) return compress_sha_extensions;
#endif
  return compress_portable;
}

Sha256Digest digest(ByteView data, Compress compress) {
  State state = kInitialState;
  const std::size_t whole = data.size() / kBlockBytes;
  compress(state, data.data(), whole);
  // The rest, one bit, zeros, and the length in bits: one block or two.
  std::array<std::byte, 2 * kBlockBytes> end{};
  const std::size_t rest = data.size() % kBlockBytes;
  if (rest != 0) std::memcpy(end.data(), data.data() + whole * kBlockBytes, rest);
  end[rest] = std::byte{0x80};
  const std::size_t end_bytes = rest + 9 <= kBlockBytes ? kBlockBytes : 2 * kBlockBytes;
  store_be<std::uint64_t>(end, end_bytes - 8, static_cast<std::uint64_t>(data.size()) * 8);
  compress(state, end.data(), end_bytes / kBlockBytes);
  Sha256Digest result;
  for (std::size_t i = 0; i < 8; ++i) store_be<std::uint32_t>(result, i * 4, state[i]);
  return result;
}

}  // namespace

Sha256Digest sha256(ByteView data) {
  static const Compress compress = best_compress();
  return digest(data, compress);
}

Sha256Digest internal::sha256_portable(ByteView data) { return digest(data, compress_portable); }

}  // namespace roamstead
