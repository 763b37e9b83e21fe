// Gives desktops their certificates: the first by a token, later ones by the one before. Blocks: called on a
// pool's threads. Thread-safe.
#pragma once

#include <string>

#include "common/wire/identity_message.h"
#include "coordinator/identity/certificate_authority.h"
#include "coordinator/server/state_store.h"

namespace roamstead::audit {
class AuditLog;
}

namespace roamstead::server {

// "rst-" and 48 hexadecimal digits: 192 random bits.
struct FreshToken {
  std::string text;  // a secret, shown once
  Bytes digest;      // SHA-256, which is kept
};
FreshToken make_token();
Bytes token_digest(const std::string& text);

class Enroller {
 public:
  // All must outlive it; `audit` may be null.
  Enroller(StateStore& store, const identity::CertificateAuthority& authority, audit::AuditLog* audit)
      : store_(store), authority_(authority), audit_(audit) {}

  // ErrorCode::denied, without saying why, when the token is not good: the audit log says. exists when a
  // desktop of that name is enrolled, and invalid_argument for its name or request, only with a good token.
  Result<wire::CertificateReply> enroll(const std::string& address, const wire::EnrollRequest& request);
  // For a desktop that is here with the certificate `serial`.
  Result<wire::CertificateReply> renew(const std::string& desktop, const std::string& serial,
                                       const wire::RenewCertificateRequest& request);

  // The same as frames: the answer to what came, a failure included.
  Bytes answer_enroll(const std::string& address, wire::Frame frame);
  Bytes answer_renew(const std::string& desktop, const std::string& serial, wire::Frame frame);
  // Somebody asked too often.
  void note_limited(const std::string& address);

 private:
  StateStore& store_;
  const identity::CertificateAuthority& authority_;
  audit::AuditLog* audit_;
};

}  // namespace roamstead::server
