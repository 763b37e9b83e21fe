// Of a request for a certificate (PKCS #10, DER; RFC 2986), which is foreign input, only the key counts.
#pragma once

#include "common/base/bytes.h"
#include "common/wire/openssl_handles.h"

namespace roamstead::identity {

// The request's key, which must be P-256 and have signed it: ErrorCode::invalid_argument otherwise, also for
// what is larger than such a request can be or is followed by anything.
Result<wire::KeyHandle> key_in_request(ByteView request);

}  // namespace roamstead::identity
