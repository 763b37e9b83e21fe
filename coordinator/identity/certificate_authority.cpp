#include "coordinator/identity/certificate_authority.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <functional>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/wire/openssl_handles.h"
#include "coordinator/identity/key_in_request.h"

namespace roamstead::identity {
namespace {

using wire::BioHandle;
using wire::CertificateHandle;
using wire::KeyHandle;
using ExtensionHandle = wire::OpenSslHandle<X509_EXTENSION_free>;

constexpr std::uint64_t kMaxPemBytes = 64u << 10;
// Clocks of freshly cloned desktops may be behind.
constexpr long kBackdatedSeconds = 24 * 3600;
constexpr std::size_t kSerialBytes = 16;

tl::unexpected<Error> openssl_failure(const std::string& what) {
  return wire::openssl_failure(ErrorCode::internal, what);
}

Result<std::string> to_pem(const std::string& what, const std::function<int(BIO*)>& write) {
  BioHandle bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) return openssl_failure(what);
  char* data = nullptr;
  auto size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<std::string> key_to_pem(EVP_PKEY* key) {
  return to_pem("private key", [key](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Result<std::string> certificate_to_pem(X509* certificate) {
  return to_pem("certificate", [certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

Result<KeyHandle> make_key() {
  KeyHandle key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failure("P-256 key");
  return key;
}

Result<void> set_serial(X509* certificate, std::string& hex) {
  std::array<unsigned char, kSerialBytes> random{};
  if (RAND_bytes(random.data(), random.size()) != 1) return openssl_failure("serial number");
  random[0] = static_cast<unsigned char>((random[0] & 0x3f) | 0x40);  // positive, and always as many digits
  wire::OpenSslHandle<BN_free> number(BN_bin2bn(random.data(), random.size(), nullptr));
  if (!number || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr)
    return openssl_failure("serial number");
  constexpr const char* kDigits = "0123456789abcdef";
  hex.clear();
  for (auto byte : random) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return {};
}

struct Kind {
  const char* basic_constraints;
  const char* key_usage;
  const char* extended_key_usage;  // null: none
  std::string alternative_names;   // "": none
  std::chrono::seconds life;
};

Result<void> add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionHandle extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1)
    return openssl_failure("certificate extension '" + value + "'");
  return {};
}

// Signed by `issuer_key`; a null issuer means that it signs itself.
Result<CertificateHandle> make_certificate(const std::string& common_name, EVP_PKEY* key, X509* issuer,
                                           EVP_PKEY* issuer_key, const Kind& kind, std::string& serial) {
  CertificateHandle certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1)
    return openssl_failure("certificate");
  RS_CHECK(set_serial(certificate.get(), serial));
  if (X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kBackdatedSeconds) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(kind.life.count())) ==
          nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1)
    return openssl_failure("certificate");
  auto* subject = X509_get_subject_name(certificate.get());
  if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) != 1 ||
      X509_set_issuer_name(certificate.get(), issuer != nullptr ? X509_get_subject_name(issuer) : subject) !=
          1)
    return openssl_failure("certificate of '" + common_name + "'");
  auto* parent = issuer != nullptr ? issuer : certificate.get();
  RS_CHECK(add_extension(certificate.get(), parent, NID_basic_constraints, kind.basic_constraints));
  RS_CHECK(add_extension(certificate.get(), parent, NID_key_usage, kind.key_usage));
  RS_CHECK(add_extension(certificate.get(), parent, NID_subject_key_identifier, "hash"));
  RS_CHECK(add_extension(certificate.get(), parent, NID_authority_key_identifier, "keyid:always"));
  if (kind.extended_key_usage != nullptr)
    RS_CHECK(add_extension(certificate.get(), parent, NID_ext_key_usage, kind.extended_key_usage));
  if (!kind.alternative_names.empty())
    RS_CHECK(add_extension(certificate.get(), parent, NID_subject_alt_name, kind.alternative_names));
  if (X509_sign(certificate.get(), issuer_key, EVP_sha256()) == 0)
    return openssl_failure("certificate signature");
  return certificate;
}

bool is_ip_address(const std::string& text) {
  wire::OpenSslHandle<ASN1_OCTET_STRING_free> address(a2i_IPADDRESS(text.c_str()));
  if (!address) ERR_clear_error();
  return address != nullptr;
}

// Anything else would be understood by OpenSSL's extension syntax as more than a name.
bool is_plain_name(const std::string& text) {
  for (char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
          c == '-' || c == '_'))
      return false;
  return !text.empty() && text.size() <= 253;
}

Result<KeyHandle> parse_key(const std::string& path, const Bytes& pem) {
  BioHandle bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  KeyHandle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return fail(ErrorCode::corrupt, path + ": not a private key in PEM");
  return key;
}

Result<CertificateHandle> parse_certificate(const std::string& path, const Bytes& pem) {
  BioHandle bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CertificateHandle certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) return fail(ErrorCode::corrupt, path + ": not a certificate in PEM");
  return certificate;
}

Result<CertificateHandle> make_authority_certificate(EVP_PKEY* key, const Validity& validity) {
  std::string serial;
  return make_certificate(
      "Roamstead CA", key, nullptr, key,
      {"critical,CA:TRUE,pathlen:0", "critical,keyCertSign,cRLSign", nullptr, "", validity.authority},
      serial);
}

Kind desktop_kind(const std::string& name, const Validity& validity) {
  return {"critical,CA:FALSE", "critical,digitalSignature", "clientAuth", "URI:roamstead:desktop:" + name,
          validity.desktop};
}

Kind administrator_kind(const std::string& name, std::chrono::seconds life) {
  return {"critical,CA:FALSE", "critical,digitalSignature", "clientAuth",
          "URI:roamstead:administrator:" + name, life};
}

Result<bool> ends_within(X509* certificate, std::chrono::seconds time) {
  int days = 0, seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1)
    return openssl_failure("the CA certificate's end");
  return std::chrono::seconds(days * 86'400LL + seconds) < time;
}

// The key of a PKCS #10 request (RFC 2986), if it is one we certify and its owner has it.

}  // namespace

struct CertificateAuthority::Keys {
  KeyHandle key;
  CertificateHandle certificate;

  Result<Issued> certify(const std::string& common_name, EVP_PKEY* subject_key, const Kind& kind) const {
    Issued issued;
    issued.expires_100ns = now_100ns() + static_cast<std::uint64_t>(kind.life.count()) * 10'000'000;
    RS_TRY(auto made,
           make_certificate(common_name, subject_key, certificate.get(), key.get(), kind, issued.serial));
    RS_TRY(issued.certificate_pem, certificate_to_pem(made.get()));
    return issued;
  }

  Result<Issued> issue(const std::string& common_name, const Kind& kind) const {
    RS_TRY(auto fresh, make_key());
    RS_TRY(auto issued, certify(common_name, fresh.get(), kind));
    RS_TRY(issued.key_pem, key_to_pem(fresh.get()));
    return issued;
  }
};

Result<void> check_desktop_name(const std::string& name) { return check_name(name, "desktop"); }

Result<void> check_name(const std::string& name, const std::string& what) {
  bool good = is_plain_name(name) && name.size() <= 63 && name[0] != '.' && name[0] != '-' && name[0] != '_';
  if (!good)
    return fail(ErrorCode::invalid_argument,
                "'" + name + "' is not a " + what +
                    "'s name: 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first");
  return {};
}

CertificateAuthority::CertificateAuthority(std::shared_ptr<const Keys> keys, std::string certificate_pem,
                                           Validity validity)
    : keys_(std::move(keys)), certificate_pem_(std::move(certificate_pem)), validity_(validity) {}

Result<CertificateAuthority> CertificateAuthority::open_or_create(os::FileSystem& files,
                                                                  const std::string& directory,
                                                                  Validity validity) {
  auto key_path = os::join_path(directory, "ca-key.pem");
  auto certificate_path = os::join_path(directory, "ca-cert.pem");
  auto keys = std::make_shared<Keys>();
  RS_TRY(bool there, files.exists(certificate_path));
  if (there) {
    RS_TRY(auto key_pem, os::read_file(files, key_path, kMaxPemBytes));
    RS_TRY(auto certificate_pem, os::read_file(files, certificate_path, kMaxPemBytes));
    RS_TRY(keys->key, parse_key(key_path, key_pem));
    RS_TRY(keys->certificate, parse_certificate(certificate_path, certificate_pem));
    if (X509_check_private_key(keys->certificate.get(), keys->key.get()) != 1)
      return fail(ErrorCode::corrupt, certificate_path + ": does not belong to the key in " + key_path);
    RS_TRY(bool due, ends_within(keys->certificate.get(), validity.authority_renewed_before_end));
    if (!due) return CertificateAuthority(std::move(keys), std::string(as_text(certificate_pem)), validity);
    RS_TRY(keys->certificate, make_authority_certificate(keys->key.get(), validity));
    RS_TRY(auto renewed_pem, certificate_to_pem(keys->certificate.get()));
    // Where it lies it may be for reading only; then the administrator renews it, in the years that are left.
    if (auto written = os::write_file_durably(files, certificate_path, as_bytes(renewed_pem)); !written) {
      log_event(Event::authority_ends, "the CA's certificate ends within {} days and cannot be renewed: {}",
                std::chrono::ceil<std::chrono::hours>(validity.authority_renewed_before_end).count() / 24,
                written.error().to_string());
      RS_TRY(keys->certificate, parse_certificate(certificate_path, certificate_pem));
      return CertificateAuthority(std::move(keys), std::string(as_text(certificate_pem)), validity);
    }
    return CertificateAuthority(std::move(keys), std::move(renewed_pem), validity);
  }
  RS_CHECK(files.make_directories(directory));
  RS_TRY(keys->key, make_key());
  RS_TRY(keys->certificate, make_authority_certificate(keys->key.get(), validity));
  RS_TRY(auto key_pem, key_to_pem(keys->key.get()));
  RS_TRY(auto certificate_pem, certificate_to_pem(keys->certificate.get()));
  RS_CHECK(os::write_file_durably(files, key_path, as_bytes(key_pem)));
  RS_CHECK(os::write_file_durably(files, certificate_path, as_bytes(certificate_pem)));
  return CertificateAuthority(std::move(keys), std::move(certificate_pem), validity);
}

Result<Issued> CertificateAuthority::issue_desktop(const std::string& name) const {
  RS_CHECK(check_desktop_name(name));
  return keys_->issue(name, desktop_kind(name, validity_));
}

Result<Issued> CertificateAuthority::issue_desktop(const std::string& name, ByteView request) const {
  RS_CHECK(check_desktop_name(name));
  RS_TRY(auto key, key_in_request(request));
  return keys_->certify(name, key.get(), desktop_kind(name, validity_));
}

Result<Issued> CertificateAuthority::issue_administrator(const std::string& name, ByteView request,
                                                         std::chrono::seconds life) const {
  RS_CHECK(check_name(name, "administrator"));
  RS_TRY(auto key, key_in_request(request));
  return keys_->certify(name, key.get(), administrator_kind(name, life));
}

Result<Issued> CertificateAuthority::issue_server(const std::vector<std::string>& names) const {
  std::string alternatives;
  for (const auto& name : names) {
    if (!alternatives.empty()) alternatives += ',';
    if (is_ip_address(name))
      alternatives += "IP:" + name;
    else if (is_plain_name(name))
      alternatives += "DNS:" + name;
    else
      return fail(ErrorCode::invalid_argument, "'" + name + "' is neither a DNS name nor an IP address");
  }
  return keys_->issue("Roamstead coordinator", {"critical,CA:FALSE", "critical,digitalSignature",
                                                "serverAuth", alternatives, validity_.server});
}

}  // namespace roamstead::identity
