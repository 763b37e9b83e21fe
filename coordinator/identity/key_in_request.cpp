#include "coordinator/identity/key_in_request.h"

#include <array>
#include <string_view>

namespace roamstead::identity {
namespace {

// A request for a P-256 key has some 300 bytes.
constexpr std::size_t kMaxRequestBytes = 4096;

}  // namespace

Result<wire::KeyHandle> key_in_request(ByteView request) {
  auto refuse = [](const char* why) {
    ERR_clear_error();
    return fail(ErrorCode::invalid_argument, std::string("the certificate request ") + why);
  };
  if (request.size() > kMaxRequestBytes) return refuse("is too large");
  const auto* at = reinterpret_cast<const unsigned char*>(request.data());
  const auto* end = at + request.size();
  wire::RequestHandle parsed(d2i_X509_REQ(nullptr, &at, static_cast<long>(request.size())));
  if (!parsed || at != end) return refuse("is none in PKCS #10");
  wire::KeyHandle key(X509_REQ_get_pubkey(parsed.get()));
  if (!key) return refuse("has no key that can be read");
  std::array<char, 32> group{};
  if (EVP_PKEY_get_id(key.get()) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key.get(), group.data(), group.size(), nullptr) != 1 ||
      std::string_view(group.data()) != "prime256v1")
    return refuse("is for a key that is not P-256");
  if (X509_REQ_verify(parsed.get(), key.get()) != 1) return refuse("is not signed by its own key");
  return key;
}

}  // namespace roamstead::identity
