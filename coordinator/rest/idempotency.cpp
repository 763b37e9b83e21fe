#include "coordinator/rest/idempotency.h"

#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include "common/base/guid.h"
#include "common/base/log.h"
#include "common/base/sha256.h"
#include "coordinator/rest/problem.h"

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;

Bytes digest_of(const std::string& text) {
  const auto digest = sha256(as_bytes(text));
  return Bytes(digest.begin(), digest.end());
}

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* raw(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

// nonce | ciphertext | tag. Every key seals one answer.
Result<Bytes> seal_answer(const Bytes& key, ByteView plain) {
  Bytes sealed(kNonceBytes + plain.size() + kTagBytes);
  fill_random(MutableByteView(sealed).first(kNonceBytes));
  Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  auto* text = raw(sealed.data() + kNonceBytes);
  if (!cipher ||
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(sealed.data())) != 1 ||
      EVP_EncryptUpdate(cipher.get(), text, &length, raw(plain), static_cast<int>(plain.size())) != 1 ||
      EVP_EncryptFinal_ex(cipher.get(), text + length, &length) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, text + plain.size()) != 1)
    return fail(ErrorCode::internal, "an answer cannot be encrypted");
  return sealed;
}

Result<std::string> unseal_answer(const Bytes& key, Bytes sealed) {
  const auto damaged = [] { return fail(ErrorCode::corrupt, "a kept answer is damaged"); };
  if (sealed.size() < kNonceBytes + kTagBytes) return damaged();
  const auto size = sealed.size() - kNonceBytes - kTagBytes;
  std::string plain(size, '\0');
  Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  auto* out = reinterpret_cast<unsigned char*>(plain.data());
  if (!cipher ||
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(sealed.data())) != 1 ||
      EVP_DecryptUpdate(cipher.get(), out, &length, raw(sealed.data() + kNonceBytes),
                        static_cast<int>(size)) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes,
                          raw(sealed.data() + kNonceBytes + size)) != 1 ||
      EVP_DecryptFinal_ex(cipher.get(), out + length, &length) != 1)
    return damaged();
  return plain;
}

bool is_kept(int status) { return status < 500 && status != 429; }

Result<HttpResponse> kept_response(const std::string& text) {
  const auto kept = json::parse(text, nullptr, false);
  if (!kept.is_object()) return fail(ErrorCode::corrupt, "a kept answer is damaged");
  HttpResponse response;
  response.status = kept.value("status", 500);
  response.content_type = kept.value("type", "");
  response.body = kept.value("body", "");
  const auto headers = kept.value("headers", json::object());
  for (const auto& [name, value] : headers.items())
    response.headers.emplace_back(name, value.get<std::string>());
  response.headers.emplace_back("Idempotency-Replayed", "true");
  return response;
}

}  // namespace

Idempotency::Turn::~Turn() {
  std::lock_guard lock(owner_.mutex_);
  owner_.under_way_.erase(id_);
}

Result<void> Idempotency::Turn::finish(const HttpResponse& response) {
  if (!is_kept(response.status)) return owner_.store_.forget_answer(id_);
  json kept{{"status", response.status}, {"type", response.content_type}, {"body", response.body}};
  for (const auto& [name, value] : response.headers) kept["headers"][name] = value;
  RS_TRY(auto sealed,
         seal_answer(seal_, as_bytes(kept.dump(-1, ' ', false, json::error_handler_t::replace))));
  return owner_.store_.keep_answer(id_, sealed);
}

Result<Idempotency::Begun> Idempotency::begin(const std::string& administrator, const std::string& key,
                                              const std::string& request, std::uint64_t now) {
  const auto id = digest_of("id" + ('\0' + administrator + '\0' + key));
  const auto seal = digest_of("seal" + ('\0' + administrator + '\0' + key));
  // Keyed too, as what was asked may hold secrets that are easy to guess.
  const auto asked = digest_of("request" + ('\0' + administrator + '\0' + key + '\0' + request));
  {
    std::lock_guard lock(mutex_);
    if (!under_way_.insert(id).second)
      return Begun{
          problem_response(problem_kind("key-in-use"), "the same request is under way; ask again later"),
          nullptr};
  }
  auto turn = std::make_unique<Turn>(*this, id, seal);
  RS_TRY(auto known, store_.begin_answer(id, asked, now, now > kKept_100ns ? now - kKept_100ns : 0));
  if (!known) return Begun{std::nullopt, std::move(turn)};
  if (known->request != asked)
    return Begun{problem_response(problem_kind("key-reused"), "take another key for another request"),
                 nullptr};
  if (known->answer.empty())
    return Begun{problem_response(problem_kind("key-in-use"),
                                  "the coordinator ended while it did this; look whether it is done, and ask "
                                  "again with another key if not"),
                 nullptr};
  RS_TRY(auto plain, unseal_answer(seal, std::move(known->answer)));
  RS_TRY(auto response, kept_response(plain));
  return Begun{std::move(response), nullptr};
}

}  // namespace roamstead::rest
