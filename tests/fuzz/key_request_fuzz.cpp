// Requests for certificates (PKCS #10) as anybody may send them who has a token: bytes as they come, and
// changes to a proper request, as few bytes get past its signature. What is accepted is a P-256 key that
// signed it.
#include <openssl/x509.h>

#include <cstdlib>

#include "coordinator/identity/key_in_request.h"

using namespace roamstead;

namespace {

Bytes make_proper_request() {
  wire::KeyHandle key(EVP_EC_gen("P-256"));
  wire::RequestHandle request(X509_REQ_new());
  auto* subject = X509_REQ_get_subject_name(request.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("desk"), 4,
                             -1, 0);
  X509_REQ_set_pubkey(request.get(), key.get());
  X509_REQ_sign(request.get(), key.get(), EVP_sha256());
  unsigned char* der = nullptr;
  const auto length = i2d_X509_REQ(request.get(), &der);
  Bytes bytes(reinterpret_cast<std::byte*>(der), reinterpret_cast<std::byte*>(der) + length);
  OPENSSL_free(der);
  return bytes;
}

void look_at(ByteView request) {
  const auto key = identity::key_in_request(request);
  if (!key) {
    if (key.error().code != ErrorCode::invalid_argument) std::abort();
    return;
  }
  if (EVP_PKEY_get_bits(key->get()) != 256) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Bytes proper = make_proper_request();
  const auto input = std::as_bytes(std::span(data, size));
  look_at(input);
  // Pairs of a place and what it becomes; then a new length.
  auto changed = proper;
  bool differs = false;
  for (std::size_t at = 0; at + 2 < size; at += 3) {
    auto& byte = changed[(data[at] * 256u + data[at + 1]) % changed.size()];
    differs |= byte != static_cast<std::byte>(data[at + 2]);
    byte = static_cast<std::byte>(data[at + 2]);
  }
  if (size % 3 == 1) changed.resize(changed.size() * data[size - 1] / 255);
  if (!differs && changed.size() == proper.size() && !identity::key_in_request(proper)) std::abort();
  look_at(changed);
  return 0;
}
