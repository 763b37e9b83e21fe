// A desktop's own key, which never leaves it, and the request for a certificate for it.
#pragma once

#include <string>

#include "common/base/bytes.h"

namespace roamstead::wire {

struct KeyRequest {
  std::string key_pem;  // a secret; P-256, PKCS #8
  Bytes request;        // PKCS #10, DER, signed by the key
};
// The name is for people who look at the request; the coordinator decides whose certificate it becomes.
Result<KeyRequest> make_key_request(const std::string& name);

// Whether a third or less of the certificate's life is left.
// ErrorCode::invalid_argument when it is no certificate.
Result<bool> is_renewal_due(const std::string& certificate_pem);

// ErrorCode::denied when the certificate is not for the key, or was not issued by the CA.
Result<void> check_identity(const std::string& key_pem, const std::string& certificate_pem,
                            const std::string& ca_pem);

}  // namespace roamstead::wire
