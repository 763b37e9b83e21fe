#include "common/profile/prewarm.h"

#include <algorithm>
#include <cstring>

#include "common/base/archive.h"
#include "common/base/sha256.h"

namespace roamstead::profile {
namespace {

constexpr char kMagic[] = "RSPREWRM";
constexpr std::size_t kMagicBytes = 8, kFormatAt = 8, kDigestAt = 16, kHeaderBytes = 48;
constexpr std::uint32_t kFormat = 1;

}  // namespace

std::string prewarm_file_name(const std::string& profile) {
  constexpr std::size_t kBytes = 16;
  constexpr char kDigits[] = "0123456789abcdef";
  const auto digest = sha256(as_bytes(profile));
  std::string name;
  for (std::size_t at = 0; at < kBytes; ++at) {
    const auto byte = std::to_integer<unsigned>(digest[at]);
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name + ".rsp";
}

Bytes encode_prewarm(const Prewarm& prewarm) {
  const auto payload = encode(prewarm);
  Bytes file(kHeaderBytes);
  std::memcpy(file.data(), kMagic, kMagicBytes);
  store_le<std::uint32_t>(file, kFormatAt, kFormat);
  const auto digest = sha256(payload);
  std::copy(digest.begin(), digest.end(), file.begin() + kDigestAt);
  file.insert(file.end(), payload.begin(), payload.end());
  return file;
}

Result<Prewarm> decode_prewarm(ByteView file) {
  if (file.size() < kHeaderBytes || file.size() > kMostPrewarmBytes ||
      std::memcmp(file.data(), kMagic, kMagicBytes) != 0)
    return fail(ErrorCode::corrupt, "is no prewarm file");
  if (load_le<std::uint32_t>(file, kFormatAt) != kFormat)
    return fail(ErrorCode::unsupported, "is a prewarm file of a later format");
  const auto payload = file.subspan(kHeaderBytes);
  const auto digest = sha256(payload);
  if (!std::equal(digest.begin(), digest.end(), file.begin() + kDigestAt))
    return fail(ErrorCode::corrupt, "is a damaged prewarm file: its digest is another");
  RS_TRY(auto prewarm, decode<Prewarm>(payload));
  for (const auto& one : prewarm.files)
    if (one.content.size() > one.size_bytes)
      return fail(ErrorCode::corrupt,
                  "is a prewarm file in which '" + one.path.text() + "' is longer than it is");
  return prewarm;
}

}  // namespace roamstead::profile
