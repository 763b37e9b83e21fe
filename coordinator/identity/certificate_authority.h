// The coordinator's own certificate authority: P-256 keys, certificates for desktops (clients only) and for
// the coordinator (server only). Its key lies in the state directory, readable by the coordinator alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/os/file.h"

namespace roamstead::identity {

// PEM texts. The key is a secret.
struct Issued {
  std::string key_pem;
  std::string certificate_pem;
  std::string serial;  // lower-case hexadecimal
};

// A desktop's name: 1 to 63 of a-z, A-Z, 0-9, '-', '_', '.', beginning with a letter or digit. It goes into
// certificates, file names and logs.
Result<void> check_desktop_name(const std::string& name);

// Thread-safe.
class CertificateAuthority {
 public:
  // Made at the first call: `directory`/ca-key.pem and ca-cert.pem. The two are written key first, so that a
  // certificate that is there always has its key.
  static Result<CertificateAuthority> open_or_create(os::FileSystem& files, const std::string& directory);

  const std::string& certificate_pem() const { return certificate_pem_; }
  Result<Issued> issue_desktop(const std::string& name) const;
  // For the coordinator, under `names`: DNS names and IP addresses.
  Result<Issued> issue_server(const std::vector<std::string>& names) const;

 private:
  struct Keys;
  CertificateAuthority(std::shared_ptr<const Keys> keys, std::string certificate_pem);

  std::shared_ptr<const Keys> keys_;  // shared by copies of this object; never changed
  std::string certificate_pem_;
};

}  // namespace roamstead::identity
