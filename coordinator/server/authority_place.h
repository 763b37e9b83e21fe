// Where the certificate authority's key is: in the state directory, or where the configuration says
// (tls.authority). The latter is noted in the state directory, so that commands that run without a
// coordinator use the same authority and never make a second one, whose desktops nobody would believe.
#pragma once

#include "coordinator/identity/certificate_authority.h"

namespace roamstead::server {

inline constexpr const char* kAuthorityDirectory = "ca";              // in the state directory
inline constexpr const char* kAuthorityNote = "authority-elsewhere";  // in the state directory: a path

// For a coordinator. `configured` "": the one in the state directory, made when there is none; another one
// must be there.
Result<identity::CertificateAuthority> open_authority(os::FileSystem& files,
                                                      const std::string& state_directory,
                                                      const std::string& configured);
// For commands without a coordinator: the one that the last coordinator used.
Result<identity::CertificateAuthority> open_noted_authority(os::FileSystem& files,
                                                            const std::string& state_directory);

}  // namespace roamstead::server
