#include "coordinator/repository/seal.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <zstd.h>

#include <cstdlib>
#include <memory>

namespace roamstead::repository {
namespace {

constexpr int kCompressionLevel = 3;

// OpenSSL fails here only when memory or the library itself is broken; going on could write what nobody can
// read.
void require(bool worked) {
  if (!worked) std::abort();
}

const unsigned char* raw(const std::byte* data) { return reinterpret_cast<const unsigned char*>(data); }
unsigned char* raw(std::byte* data) { return reinterpret_cast<unsigned char*>(data); }

struct CipherContext {
  CipherContext() : context(EVP_CIPHER_CTX_new()) { require(context != nullptr); }
  ~CipherContext() { EVP_CIPHER_CTX_free(context); }
  CipherContext(const CipherContext&) = delete;
  CipherContext& operator=(const CipherContext&) = delete;
  EVP_CIPHER_CTX* context;
};

struct DigestContext {
  DigestContext() : context(EVP_MD_CTX_new()) {
    require(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
  }
  ~DigestContext() { EVP_MD_CTX_free(context); }
  DigestContext(const DigestContext&) = delete;
  DigestContext& operator=(const DigestContext&) = delete;
  void add(ByteView data) { require(EVP_DigestUpdate(context, data.data(), data.size()) == 1); }
  ObjectId finish() {
    ObjectId digest;
    require(EVP_DigestFinal_ex(context, raw(digest.bytes.data()), nullptr) == 1);
    return digest;
  }
  EVP_MD_CTX* context;
};

std::array<std::byte, 33> associated_data(const ObjectId& id, ObjectType type) {
  std::array<std::byte, 33> data;
  std::memcpy(data.data(), id.bytes.data(), 32);
  data[32] = static_cast<std::byte>(type);
  return data;
}

}  // namespace

Key random_key() {
  Key key;
  fill_random(key);
  return key;
}

// HMAC (RFC 2104) written out: OpenSSL 3 looks its HMAC up by name at every use, which costs more than a
// small object.
ObjectId ObjectIdMaker::make(ObjectType type, const Guid& profile, ByteView content) const {
  std::array<std::byte, SHA256_CBLOCK> inner_pad, outer_pad;
  inner_pad.fill(std::byte{0x36});
  outer_pad.fill(std::byte{0x5C});
  for (std::size_t i = 0; i < key_.size(); ++i) {
    inner_pad[i] ^= key_[i];
    outer_pad[i] ^= key_[i];
  }
  auto kind = static_cast<std::byte>(type);
  DigestContext inner;
  inner.add(inner_pad);
  inner.add({&kind, 1});
  inner.add(profile.bytes);
  inner.add(content);
  auto inner_digest = inner.finish();
  DigestContext outer;
  outer.add(outer_pad);
  outer.add(inner_digest.bytes);
  return outer.finish();
}

namespace {
// Making one of these costs as much as packing a small object; each thread keeps its own.
struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};
ZSTD_CCtx* compression() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  return context.get();
}
ZSTD_DCtx* decompression() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  return context.get();
}
}  // namespace

Sealed seal(const Key& key, const ObjectId& id, ObjectType type, ByteView content) {
  Sealed sealed;
  Bytes packed(ZSTD_compressBound(content.size()));
  auto size = ZSTD_compressCCtx(compression(), packed.data(), packed.size(), content.data(), content.size(),
                                kCompressionLevel);
  sealed.compressed = ZSTD_isError(size) == 0 && size < content.size();
  auto plain = sealed.compressed ? ByteView(packed).first(size) : content;

  sealed.payload.resize(kNonceBytes + plain.size() + kTagBytes);
  auto* nonce = sealed.payload.data();
  auto* text = nonce + kNonceBytes;
  fill_random({nonce, kNonceBytes});
  auto associated = associated_data(id, type);
  CipherContext cipher;
  std::array<std::byte, 16> rest;  // a stream mode leaves nothing for the end
  int written = 0;
  require(EVP_EncryptInit_ex(cipher.context, EVP_aes_256_gcm(), nullptr, raw(key.data()), raw(nonce)) == 1);
  require(EVP_EncryptUpdate(cipher.context, nullptr, &written, raw(associated.data()), associated.size()) ==
          1);
  if (!plain.empty())
    require(EVP_EncryptUpdate(cipher.context, raw(text), &written, raw(plain.data()),
                              static_cast<int>(plain.size())) == 1);
  require(EVP_EncryptFinal_ex(cipher.context, raw(rest.data()), &written) == 1);
  require(EVP_CIPHER_CTX_ctrl(cipher.context, EVP_CTRL_GCM_GET_TAG, kTagBytes, text + plain.size()) == 1);
  return sealed;
}

Result<Bytes> unseal(const Key& key, const ObjectId& id, ObjectType type, bool compressed, ByteView payload,
                     std::size_t content_bytes) {
  if (content_bytes > kMaxObjectBytes || payload.size() < kNonceBytes + kTagBytes ||
      payload.size() - kNonceBytes - kTagBytes > kMaxObjectBytes)
    return fail(ErrorCode::corrupt, "object " + id.short_text() + " has an impossible size");
  auto text = payload.subspan(kNonceBytes, payload.size() - kNonceBytes - kTagBytes);
  auto tag = to_bytes(payload.last(kTagBytes));
  Bytes plain(text.size());
  auto associated = associated_data(id, type);
  CipherContext cipher;
  int written = 0;
  require(EVP_DecryptInit_ex(cipher.context, EVP_aes_256_gcm(), nullptr, raw(key.data()),
                             raw(payload.data())) == 1);
  require(EVP_DecryptUpdate(cipher.context, nullptr, &written, raw(associated.data()), associated.size()) ==
          1);
  if (!text.empty())
    require(EVP_DecryptUpdate(cipher.context, raw(plain.data()), &written, raw(text.data()),
                              static_cast<int>(text.size())) == 1);
  require(EVP_CIPHER_CTX_ctrl(cipher.context, EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1);
  std::array<std::byte, 16> rest;
  if (EVP_DecryptFinal_ex(cipher.context, raw(rest.data()), &written) != 1)
    return fail(ErrorCode::corrupt,
                "object " + id.short_text() + " does not open: its seal is broken or the key is another");
  if (compressed) {
    Bytes content(content_bytes);
    auto size =
        ZSTD_decompressDCtx(decompression(), content.data(), content.size(), plain.data(), plain.size());
    if (ZSTD_isError(size) != 0)
      return fail(ErrorCode::corrupt,
                  "object " + id.short_text() + " does not decompress: " + ZSTD_getErrorName(size));
    if (size != content_bytes)
      return fail(ErrorCode::corrupt, "object " + id.short_text() + " is " + std::to_string(size) +
                                          " bytes long, " + std::to_string(content_bytes) + " expected");
    return content;
  }
  if (plain.size() != content_bytes)
    return fail(ErrorCode::corrupt, "object " + id.short_text() + " is " + std::to_string(plain.size()) +
                                        " bytes long, " + std::to_string(content_bytes) + " expected");
  return plain;
}

}  // namespace roamstead::repository
