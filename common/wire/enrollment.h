// How a desktop that has no certificate gets one: by a token that an administrator made for it.
#pragma once

#include <chrono>
#include <string>

#include "common/os/file.h"

namespace roamstead::wire {

// What `roamstead token create` hands out, in a file of its own.
struct EnrollmentToken {
  std::string coordinator;  // "host:port"
  std::string token;        // a secret
  std::string ca_pem;       // by which the coordinator is known
};
// ErrorCode::corrupt when the file holds something else.
Result<EnrollmentToken> load_enrollment_token(os::FileSystem& files, const std::string& path);

struct DesktopIdentity {
  std::string key_pem;  // a secret, made here
  std::string certificate_pem;
  std::string ca_pem;
};

// Connects, sends the token and a request for a key made here, and gets the certificate. Blocks, at most for
// `timeout`. ErrorCode::denied when the token, the name or the coordinator's certificate is refused; exists
// when a desktop of that name is enrolled. The token is used up when this succeeds, and may be when the
// connection is lost twice before the answer came.
Result<DesktopIdentity> enroll_desktop(const EnrollmentToken& token, const std::string& name,
                                       const std::string& pool = "",
                                       std::chrono::milliseconds timeout = std::chrono::seconds(20));

// Writes desktop.json, ca.pem, cert.pem, key.pem into `directory`, which load_desktop_identity reads.
// ErrorCode::exists when there is an identity already.
Result<void> save_desktop_identity(os::FileSystem& files, const std::string& directory,
                                   const std::string& name, const std::string& coordinator,
                                   const DesktopIdentity& identity);
// Replaces key and certificate by renewed ones, in one file (identity.pem, which counts before key.pem and
// cert.pem), so that a crash leaves either pair.
Result<void> save_renewed_identity(os::FileSystem& files, const std::string& directory,
                                   const DesktopIdentity& identity);

}  // namespace roamstead::wire
