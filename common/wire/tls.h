// TLS 1.3 with certificates on both sides, and nothing else: no older protocol, no tickets, no early data.
#pragma once

#include <asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "common/base/result.h"

namespace roamstead::wire {

// PEM texts. The key is a secret.
struct TlsIdentity {
  std::string certificate_pem;
  std::string key_pem;
  std::string ca_pem;  // whom the peer must be certified by
};

// The name in every coordinator's certificate. Desktops look for it instead of an address, so that the
// coordinator may move; only the coordinator gets a certificate for serving from this private CA.
inline constexpr const char* kCoordinatorName = "coordinator.roamstead.internal";

Result<std::unique_ptr<asio::ssl::context>> make_server_context(const TlsIdentity& identity);
Result<std::unique_ptr<asio::ssl::context>> make_client_context(const TlsIdentity& identity);
// For a desktop that has no certificate yet: only the coordinator shows one.
Result<std::unique_ptr<asio::ssl::context>> make_enrollment_context(const std::string& ca_pem);
// For one connection of a server: lets a peer without a certificate in. Before its handshake.
void make_certificate_optional(SSL* ssl);

// Who the verified peer is: its certificate's common name and serial number (lower-case hexadecimal).
// `kind` is the authority's word on what it is: the URI in its alternative names without the name, e.g.
// "roamstead:desktop"; empty when it has none of ours.
struct PeerCertificate {
  std::string common_name;
  std::string serial;
  std::string kind;
};
inline constexpr const char* kDesktopKind = "roamstead:desktop";
inline constexpr const char* kAdministratorKind = "roamstead:administrator";
// After the handshake.
bool has_peer_certificate(SSL* ssl);
// ErrorCode::denied without a certificate or a usable common name.
Result<PeerCertificate> peer_certificate(SSL* ssl);

}  // namespace roamstead::wire
