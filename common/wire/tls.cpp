#include "common/wire/tls.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string_view>

namespace roamstead::wire {
namespace {

constexpr std::size_t kMaxCommonName = 64;  // RFC 5280, ub-common-name

// What all sides have in common; `ca_pem` is whom the peer must be certified by.
Result<std::unique_ptr<asio::ssl::context>> make_bare_context(const std::string& ca_pem,
                                                              asio::ssl::context::method method) {
  auto context = std::make_unique<asio::ssl::context>(method);
  asio::error_code error;
  context->add_certificate_authority(asio::buffer(ca_pem), error);
  if (error) return fail(ErrorCode::invalid_argument, "CA certificate: " + error.message());
  context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert, error);
  if (error) return fail(ErrorCode::internal, "TLS: " + error.message());
  auto* native = context->native_handle();
  if (SSL_CTX_set_min_proto_version(native, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(native, TLS1_3_VERSION) != 1)
    return fail(ErrorCode::internal, "this OpenSSL cannot do TLS 1.3");
  // A ticket would outlive a revocation: every connection shows its certificate anew.
  SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // idle connections are the usual ones
  return context;
}

Result<std::unique_ptr<asio::ssl::context>> make_context(const TlsIdentity& identity,
                                                         asio::ssl::context::method method) {
  RS_TRY(auto context, make_bare_context(identity.ca_pem, method));
  asio::error_code error;
  context->use_certificate_chain(asio::buffer(identity.certificate_pem), error);
  if (error) return fail(ErrorCode::invalid_argument, "certificate: " + error.message());
  context->use_private_key(asio::buffer(identity.key_pem), asio::ssl::context::pem, error);
  if (error) return fail(ErrorCode::invalid_argument, "private key: " + error.message());
  return context;
}

Result<void> expect_coordinator(asio::ssl::context& context) {
  auto* parameters = SSL_CTX_get0_param(context.native_handle());
  if (X509_VERIFY_PARAM_set1_host(parameters, kCoordinatorName, 0) != 1)
    return fail(ErrorCode::internal, "TLS: cannot set the expected name");
  return {};
}

// The URI that ends with the peer's name; "" when there is not exactly one URI, and it does.
std::string kind_in(const X509* certificate, const std::string& name) {
  auto* names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::string kind;
  if (names != nullptr && sk_GENERAL_NAME_num(names) == 1) {
    const auto* only = sk_GENERAL_NAME_value(names, 0);
    if (only->type == GEN_URI) {
      std::string_view uri(
          reinterpret_cast<const char*>(ASN1_STRING_get0_data(only->d.uniformResourceIdentifier)),
          static_cast<std::size_t>(ASN1_STRING_length(only->d.uniformResourceIdentifier)));
      const auto colon = uri.rfind(':');
      if (colon != std::string_view::npos && uri.substr(colon + 1) == name) kind = uri.substr(0, colon);
    }
  }
  GENERAL_NAMES_free(names);
  return kind;
}

}  // namespace

Result<std::unique_ptr<asio::ssl::context>> make_server_context(const TlsIdentity& identity) {
  return make_context(identity, asio::ssl::context::tls_server);
}

Result<std::unique_ptr<asio::ssl::context>> make_client_context(const TlsIdentity& identity) {
  RS_TRY(auto context, make_context(identity, asio::ssl::context::tls_client));
  RS_CHECK(expect_coordinator(*context));
  return context;
}

Result<std::unique_ptr<asio::ssl::context>> make_enrollment_context(const std::string& ca_pem) {
  RS_TRY(auto context, make_bare_context(ca_pem, asio::ssl::context::tls_client));
  RS_CHECK(expect_coordinator(*context));
  return context;
}

void make_certificate_optional(SSL* ssl) { SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr); }

bool has_peer_certificate(SSL* ssl) { return SSL_get0_peer_certificate(ssl) != nullptr; }

Result<PeerCertificate> peer_certificate(SSL* ssl) {
  auto* certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return fail(ErrorCode::denied, "the peer showed no certificate");
  PeerCertificate peer;
  auto* subject = X509_get_subject_name(certificate);
  auto index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return fail(ErrorCode::denied, "the peer's certificate has no common name");
  unsigned char* text = nullptr;
  auto length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (length < 0) return fail(ErrorCode::denied, "the peer's certificate has an unreadable common name");
  peer.common_name.assign(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length));
  OPENSSL_free(text);
  if (peer.common_name.empty() || peer.common_name.size() > kMaxCommonName)
    return fail(ErrorCode::denied, "the peer's certificate has an impossible common name");
  auto* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
  auto* hex = number != nullptr ? BN_bn2hex(number) : nullptr;
  if (hex != nullptr) peer.serial = hex;
  OPENSSL_free(hex);
  BN_free(number);
  for (auto& digit : peer.serial)
    if (digit >= 'A' && digit <= 'F') digit = static_cast<char>(digit - 'A' + 'a');
  if (peer.serial.empty()) return fail(ErrorCode::denied, "the peer's certificate has no serial number");
  peer.kind = kind_in(certificate, peer.common_name);
  return peer;
}

}  // namespace roamstead::wire
