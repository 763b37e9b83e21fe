#include "coordinator/join/ciphers.h"

#include <openssl/evp.h>
#include <openssl/provider.h>

#include <array>
#include <mutex>

#include "common/wire/openssl_handles.h"

namespace roamstead::join {
namespace {

using CipherContext = wire::OpenSslHandle<EVP_CIPHER_CTX_free>;
using DigestContext = wire::OpenSslHandle<EVP_MD_CTX_free>;
using Cipher = wire::OpenSslHandle<EVP_CIPHER_free>;

constexpr std::size_t kDesBlock = 8, kDesKeyPart = 7;
constexpr int kStretches = 1000;

// A context of its own holds the old ciphers, so that no TLS of this process ever sees them.
Result<OSSL_LIB_CTX*> legacy_library() {
  static OSSL_LIB_CTX* const library = [] {
    auto* made = OSSL_LIB_CTX_new();
    if (made != nullptr && OSSL_PROVIDER_load(made, "legacy") == nullptr) {
      OSSL_LIB_CTX_free(made);
      made = nullptr;
    }
    return made;
  }();
  if (library == nullptr)
    return wire::openssl_failure(ErrorCode::unsupported,
                                 "secrets of Windows XP and Server 2003 need OpenSSL's legacy provider "
                                 "(ossl-modules/legacy.so, part of Debian's libssl3)");
  return library;
}

// One run of a cipher without padding; `data` is whole blocks.
Result<SecretBytes> run(const EVP_CIPHER* cipher, ByteView key, ByteView data, Direction direction) {
  CipherContext context(EVP_CIPHER_CTX_new());
  SecretBytes out(data.size());
  int written = 0;
  if (cipher == nullptr || context == nullptr ||
      static_cast<std::size_t>(EVP_CIPHER_get_key_length(cipher)) != key.size() ||
      EVP_CipherInit_ex2(context.get(), cipher, reinterpret_cast<const unsigned char*>(key.data()), nullptr,
                         direction == Direction::encrypt ? 1 : 0, nullptr) != 1 ||
      EVP_CIPHER_CTX_set_padding(context.get(), 0) != 1 ||
      EVP_CipherUpdate(context.get(), reinterpret_cast<unsigned char*>(out.data()), &written,
                       reinterpret_cast<const unsigned char*>(data.data()),
                       static_cast<int>(data.size())) != 1 ||
      static_cast<std::size_t>(written) != data.size())
    return wire::openssl_failure(ErrorCode::internal, "a cipher of OpenSSL failed");
  return out;
}

Result<SecretBytes> hash_thousand(const EVP_MD* hash, ByteView head, ByteView salt) {
  DigestContext context(EVP_MD_CTX_new());
  SecretBytes out(static_cast<std::size_t>(EVP_MD_get_size(hash)));
  bool good = context != nullptr && EVP_DigestInit_ex(context.get(), hash, nullptr) == 1 &&
              EVP_DigestUpdate(context.get(), head.data(), head.size()) == 1;
  for (int i = 0; good && i < kStretches; ++i)
    good = EVP_DigestUpdate(context.get(), salt.data(), salt.size()) == 1;
  if (!good || EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr) != 1)
    return wire::openssl_failure(ErrorCode::internal, "a digest of OpenSSL failed");
  return out;
}

// 56 bits spread over 8 bytes; the lowest bit of each is parity, which DES does not look at.
SecretBytes des_key(ByteView seven) {
  std::uint64_t bits = 0;
  for (const auto byte : seven) bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
  SecretBytes key(kDesBlock);
  for (std::size_t i = 0; i < kDesBlock; ++i)
    key[i] = static_cast<std::byte>(bits >> (49 - 7 * i) << 1 & 0xfe);
  cleanse(&bits, sizeof bits);
  return key;
}

}  // namespace

Result<SecretBytes> aes_blocks(ByteView key, ByteView data, Direction direction) {
  return run(EVP_aes_256_ecb(), key, data, direction);
}

Result<SecretBytes> des_blocks(ByteView key, ByteView data, Direction direction) {
  RS_TRY(auto* library, legacy_library());
  const Cipher cipher(EVP_CIPHER_fetch(library, "DES-ECB", nullptr));
  SecretBytes out;
  out.reserve(data.size());
  auto rest = key;
  for (std::size_t at = 0; at + kDesBlock <= data.size(); at += kDesBlock) {
    const auto block_key = des_key(rest.first(kDesKeyPart));
    RS_TRY(const auto block, run(cipher.get(), block_key, data.subspan(at, kDesBlock), direction));
    out.insert(out.end(), block.begin(), block.end());
    rest = rest.subspan(kDesKeyPart);
    if (rest.size() < kDesKeyPart) rest = key.subspan(rest.size());
  }
  return out;
}

Result<SecretBytes> rc4(ByteView key, ByteView data) {
  RS_TRY(auto* library, legacy_library());
  const Cipher cipher(EVP_CIPHER_fetch(library, "RC4", nullptr));
  return run(cipher.get(), key, data, Direction::encrypt);
}

Result<SecretBytes> sha256_thousand(ByteView head, ByteView salt) {
  return hash_thousand(EVP_sha256(), head, salt);
}

Result<SecretBytes> md5_thousand(ByteView head, ByteView salt) {
  return hash_thousand(EVP_md5(), head, salt);
}

}  // namespace roamstead::join
