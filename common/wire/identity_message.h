// Messages by which desktops get certificates (docs/protocol.md).
#pragma once

#include "common/wire/message.h"

namespace roamstead::wire {

// A certificate request is a few hundred bytes, a token some sixty.
inline constexpr std::size_t kMaxEnrollBytes = 8192;

// Sent instead of a greeting by a desktop that has no certificate yet.
struct EnrollRequest {
  std::uint32_t magic = kProtocolMagic;
  std::uint16_t version = kProtocolVersion;
  std::string token;  // a secret
  std::string name;   // the desktop's
  std::string pool;   // "": the token's, whichever that is
  Bytes request;      // PKCS #10, DER

  template <class Archive>
  void serialize(Archive& archive) {
    archive(magic, version, token, name, pool, request);
  }
};

struct RenewCertificateRequest {
  Bytes request;  // PKCS #10, DER; for a new key

  template <class Archive>
  void serialize(Archive& archive) {
    archive(request);
  }
};

struct CertificateReply {
  std::string certificate_pem;
  std::string ca_pem;
  std::string pool;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(certificate_pem, ca_pem, pool);
  }
};

extern template Result<EnrollRequest> decode_message(Frame, const char*);
extern template Result<RenewCertificateRequest> decode_message(Frame, const char*);
extern template Result<CertificateReply> decode_message(Frame, const char*);

Bytes encode_message(const EnrollRequest& message);
Bytes encode_message(const RenewCertificateRequest& message);
Bytes encode_message(const CertificateReply& message);

}  // namespace roamstead::wire
