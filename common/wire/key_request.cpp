#include "common/wire/key_request.h"

#include <openssl/pem.h>

#include <ctime>

#include "common/wire/openssl_handles.h"

namespace roamstead::wire {
namespace {

Result<CertificateHandle> parse_pem_certificate(const std::string& pem, const char* what) {
  BioHandle bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CertificateHandle certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) return openssl_failure(ErrorCode::invalid_argument, what);
  return certificate;
}

}  // namespace

Result<KeyRequest> make_key_request(const std::string& name) {
  KeyHandle key(EVP_EC_gen("P-256"));
  RequestHandle request(X509_REQ_new());
  if (!key || !request) return openssl_failure(ErrorCode::internal, "a key for a certificate");
  auto* subject = X509_REQ_get_subject_name(request.get());
  if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()),
                                 static_cast<int>(name.size()), -1, 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0)
    return openssl_failure(ErrorCode::internal, "a request for a certificate");
  KeyRequest made;
  unsigned char* der = nullptr;
  auto length = i2d_X509_REQ(request.get(), &der);
  if (length <= 0) return openssl_failure(ErrorCode::internal, "a request for a certificate");
  made.request.assign(reinterpret_cast<std::byte*>(der), reinterpret_cast<std::byte*>(der) + length);
  OPENSSL_free(der);
  BioHandle bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_failure(ErrorCode::internal, "a private key");
  char* text = nullptr;
  auto size = BIO_get_mem_data(bio.get(), &text);
  made.key_pem.assign(text, static_cast<std::size_t>(size));
  return made;
}

Result<bool> is_renewal_due(const std::string& certificate_pem) {
  RS_TRY(auto certificate, parse_pem_certificate(certificate_pem, "this desktop's certificate"));
  int life_days = 0, life_seconds = 0, left_days = 0, left_seconds = 0;
  const auto* from = X509_get0_notBefore(certificate.get());
  const auto* until = X509_get0_notAfter(certificate.get());
  if (ASN1_TIME_diff(&life_days, &life_seconds, from, until) != 1 ||
      ASN1_TIME_diff(&left_days, &left_seconds, nullptr, until) != 1)
    return openssl_failure(ErrorCode::invalid_argument, "the times in this desktop's certificate");
  auto seconds = [](int days, int rest) { return days * 86'400LL + rest; };
  return seconds(left_days, left_seconds) * 3 <= seconds(life_days, life_seconds);
}

Result<void> check_identity(const std::string& key_pem, const std::string& certificate_pem,
                            const std::string& ca_pem) {
  RS_TRY(auto certificate, parse_pem_certificate(certificate_pem, "the certificate"));
  RS_TRY(auto authority, parse_pem_certificate(ca_pem, "the CA's certificate"));
  BioHandle bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  KeyHandle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return openssl_failure(ErrorCode::invalid_argument, "the private key");
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return openssl_failure(ErrorCode::denied, "the certificate is for another key");
  if (X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) != 1)
    return openssl_failure(ErrorCode::denied, "the certificate was not issued by the CA");
  return {};
}

}  // namespace roamstead::wire
