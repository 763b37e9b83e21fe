// The coordinator's own certificate authority: P-256 keys, certificates for desktops (clients only) and for
// the coordinator (server only). Its key lies in the state directory, readable by the coordinator alone.
#pragma once

#include <chrono>
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
  std::uint64_t expires_100ns = 0;
};

// How long certificates live, from their issue; each begins a day earlier, as clocks of freshly cloned
// desktops may be behind.
//   CA       20 years; renewed for the same key at a start of the coordinator with less than 5 years left, so
//            that what the old one certified stays good and desktops that know the old one still trust us
//   desktop  1 year; renewed by the desktop itself when a third is left (common/wire/key_request.h). A
//   desktop
//            that was off for all of that third enrols again.
//   server   90 days; made anew at every start and when a third is left
struct Validity {
  std::chrono::hours authority{20 * 365 * 24};
  std::chrono::hours authority_renewed_before_end{5 * 365 * 24};
  std::chrono::seconds desktop{365L * 24 * 3600};
  std::chrono::seconds server{90L * 24 * 3600};
};

// A desktop's name: 1 to 63 of a-z, A-Z, 0-9, '-', '_', '.', beginning with a letter or digit. It goes into
// certificates, file names and logs.
Result<void> check_desktop_name(const std::string& name);
// The same rule for names of other `what` ("pool").
Result<void> check_name(const std::string& name, const std::string& what);

// Thread-safe.
class CertificateAuthority {
 public:
  // Made at the first call: `directory`/ca-key.pem and ca-cert.pem. The two are written key first, so that a
  // certificate that is there always has its key.
  static Result<CertificateAuthority> open_or_create(os::FileSystem& files, const std::string& directory,
                                                     Validity validity = {});

  const std::string& certificate_pem() const { return certificate_pem_; }
  // With a key made here.
  Result<Issued> issue_desktop(const std::string& name) const;
  // For the key in a PKCS #10 request (DER), which is foreign input: of the request only the key counts,
  // which must be P-256 and have signed it. ErrorCode::invalid_argument otherwise. No key_pem in the answer.
  Result<Issued> issue_desktop(const std::string& name, ByteView request) const;
  // For an administrator's own key, in the same way; what it may do is noted elsewhere, under its serial. Its
  // kind is another than a desktop's (common/wire/tls.h), so that neither is taken for the other.
  Result<Issued> issue_administrator(const std::string& name, ByteView request,
                                     std::chrono::seconds life) const;
  // For the coordinator, under `names`: DNS names and IP addresses.
  Result<Issued> issue_server(const std::vector<std::string>& names) const;

 private:
  struct Keys;
  CertificateAuthority(std::shared_ptr<const Keys> keys, std::string certificate_pem, Validity validity);

  std::shared_ptr<const Keys> keys_;  // shared by copies of this object; never changed
  std::string certificate_pem_;
  Validity validity_;
};

}  // namespace roamstead::identity
