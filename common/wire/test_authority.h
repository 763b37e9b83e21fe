// For tests: a certificate authority that issues what it is asked for, good or bad.
#pragma once

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <stdexcept>
#include <string>

#include "common/base/guid.h"
#include "common/wire/openssl_handles.h"
#include "common/wire/tls.h"

namespace roamstead::wire {

class TestAuthority {
 public:
  enum class Kind { p256, rsa };  // of its own key; those it certifies are P-256

  explicit TestAuthority(Kind kind = Kind::p256)
      : key_(kind == Kind::rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")),
        certificate_(make("Test CA " + Guid::random().to_string(), key_.get(), "critical,CA:TRUE", "")) {}

  // `alternative_names` as OpenSSL writes them: "DNS:name".
  TlsIdentity issue(const std::string& name, const std::string& alternative_names) const {
    const KeyHandle key(EVP_EC_gen("P-256"));
    const auto certificate = make(name, key.get(), "critical,CA:FALSE", alternative_names);
    const BioHandle bio(BIO_new(BIO_s_mem()));
    expect(PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
    return {pem(certificate.get()), text(bio.get()), pem(certificate_.get())};
  }
  TlsIdentity coordinator() const { return issue("coordinator", std::string("DNS:") + kCoordinatorName); }
  TlsIdentity desktop(const std::string& name = "desk") const {
    return issue(name, "URI:" + std::string(kDesktopKind) + ":" + name);
  }

  // For the key in a PKCS #10 request, DER.
  std::string certify(ByteView request, const std::string& name) const {
    const auto* at = reinterpret_cast<const unsigned char*>(request.data());
    const RequestHandle parsed(d2i_X509_REQ(nullptr, &at, static_cast<long>(request.size())));
    expect(parsed && X509_REQ_verify(parsed.get(), X509_REQ_get0_pubkey(parsed.get())) == 1);
    return pem(make(name, X509_REQ_get0_pubkey(parsed.get()), "critical,CA:FALSE", "").get());
  }
  std::string ca_pem() const { return pem(certificate_.get()); }

 private:
  static void expect(bool success) {
    if (!success) throw std::runtime_error("test CA: OpenSSL failed");
  }
  static std::string text(BIO* bio) {
    char* begin = nullptr;
    const auto size = BIO_get_mem_data(bio, &begin);
    return {begin, static_cast<std::size_t>(size)};
  }
  static std::string pem(X509* certificate) {
    const BioHandle bio(BIO_new(BIO_s_mem()));
    expect(PEM_write_bio_X509(bio.get(), certificate) == 1);
    return text(bio.get());
  }
  static void add(X509* certificate, int nid, const std::string& value) {
    const OpenSslHandle<X509_EXTENSION_free> extension(
        X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
    expect(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
  }
  // Signed by our key; the first is our own.
  CertificateHandle make(const std::string& name, EVP_PKEY* key, const std::string& constraints,
                         const std::string& alternative_names) const {
    static std::atomic<long> serial{1};
    CertificateHandle made(X509_new());
    expect(made && X509_set_version(made.get(), X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial++);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    auto* subject = X509_get_subject_name(made.get());
    expect(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1);
    X509_set_issuer_name(made.get(), certificate_ ? X509_get_subject_name(certificate_.get()) : subject);
    X509_set_pubkey(made.get(), key);
    add(made.get(), NID_basic_constraints, constraints);
    if (!alternative_names.empty()) add(made.get(), NID_subject_alt_name, alternative_names);
    expect(X509_sign(made.get(), key_.get(), EVP_sha256()) != 0);
    return made;
  }

  KeyHandle key_;
  CertificateHandle certificate_;
};

}  // namespace roamstead::wire
