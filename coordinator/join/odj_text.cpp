// The text around a blob: base64, in a file of Windows' or inside an unattend file.
#include <array>

#include "coordinator/join/odj_blob.h"

namespace roamstead::join {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t kMaxTextBytes = 16u << 20;  // with certificates in it a blob may be large

SecretBytes base64_of(ByteView data) {
  SecretBytes text;
  text.reserve((data.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < data.size(); at += 3) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (at + i < data.size() ? std::to_integer<std::uint32_t>(data[at + i]) : 0);
    for (std::size_t i = 0; i < 4; ++i)
      text.push_back(
          static_cast<std::byte>(at + i <= data.size() ? kAlphabet[bits >> (18 - 6 * i) & 63] : '='));
  }
  return text;
}

// Blanks and line ends between are passed over, as are NULs at the end.
Result<SecretBytes> from_base64(ByteView text) {
  while (!text.empty() && text.back() == std::byte{0}) text = text.first(text.size() - 1);
  std::array<std::uint8_t, 256> values{};
  values.fill(0xff);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  SecretBytes data;
  data.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  std::size_t count = 0, padding = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto c = std::to_integer<unsigned char>(text[at]);
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    if (values[c] == 0xff || padding != 0)
      return fail(ErrorCode::corrupt, "is not base64 at character " + std::to_string(at));
    bits = bits << 6 | values[c];
    if (++count % 4 == 0)
      for (int shift = 16; shift >= 0; shift -= 8)
        data.push_back(static_cast<std::byte>(bits >> shift & 0xff));
  }
  const auto rest = count % 4;
  if (rest == 1 || padding > 2 || (count + padding) % 4 != 0)
    return fail(ErrorCode::corrupt, "is base64 that ends early");
  if (rest >= 2) data.push_back(static_cast<std::byte>(bits >> (rest == 2 ? 4 : 10) & 0xff));
  if (rest == 3) data.push_back(static_cast<std::byte>(bits >> 2 & 0xff));
  return data;
}

}  // namespace

Result<SecretBytes> odj_data_of_text(ByteView text) {
  if (text.size() > kMaxTextBytes)
    return fail(ErrorCode::corrupt, "a blob of " + std::to_string(text.size()) + " bytes is too big");
  SecretBytes narrow;
  if (text.size() >= 2 && load_le<std::uint16_t>(text) == 0xFEFF) {
    narrow.reserve(text.size() / 2);
    for (std::size_t at = 2; at + 1 < text.size(); at += 2) {
      const auto unit = load_le<std::uint16_t>(text, at);
      if (unit > 0x7f) return fail(ErrorCode::corrupt, "is not base64 at byte " + std::to_string(at));
      narrow.push_back(static_cast<std::byte>(unit));
    }
    text = narrow;
  }
  RS_TRY_CTX(auto data, "domain join blob", from_base64(text));
  return data;
}

Result<OdjBlob> parse_odj_text(ByteView text) {
  RS_TRY(const auto data, odj_data_of_text(text));
  RS_TRY_CTX(auto blob, "domain join blob", parse_odj_data(data));
  return blob;
}

Result<SecretBytes> write_account_data(const OdjBlob& blob) {
  RS_TRY(const auto data, write_odj_data(blob));
  return base64_of(data);
}

SecretBytes account_data_of_data(ByteView data) { return base64_of(data); }

Result<SecretBytes> write_odj_file(const OdjBlob& blob) {
  RS_TRY(const auto data, write_odj_data(blob));
  return odj_file_of_data(data);
}

SecretBytes odj_file_of_data(ByteView data) {
  const auto text = base64_of(data);
  SecretBytes file;
  file.reserve(2 * text.size() + 4);
  const auto unit = [&](unsigned value) {
    file.push_back(static_cast<std::byte>(value & 0xff));
    file.push_back(static_cast<std::byte>(value >> 8));
  };
  unit(0xFEFF);
  for (const auto c : text) unit(std::to_integer<unsigned>(c));
  unit(0);  // as Samba's file ends
  return file;
}

}  // namespace roamstead::join
