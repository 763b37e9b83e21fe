// A blob for tests and the fuzzer.
#pragma once

#include "coordinator/join/odj_blob.h"
#include "tests/support/must.h"

namespace roamstead::join::testing {

inline OdjBlob sample_blob() {
  Membership membership;
  membership.domain = {"corp.roam.test", "CORP", "roam.test",
                       support::must(Guid::parse("97c3ff31-5b50-4efa-8d4f-2d2502703350")),
                       support::must(Sid::parse("S-1-5-21-933435986-157096167-3479960315"))};
  membership.machine_name = "VDI-0001";
  membership.machine_password = support::must(secret_utf16("Pässwort–1"));
  membership.machine_rid = 1103;
  Controller controller{"\\\\dc1.corp.roam.test",
                        "\\\\192.0.2.1",
                        1,
                        membership.domain.guid,
                        "corp.roam.test",
                        "roam.test",
                        0xe00013fd,
                        "Default-First-Site-Name",
                        "Branch"};
  auto blob = make_odj_blob(std::move(membership), std::move(controller));
  blob.site = JoinSite{1, "VDI-0001", "Branch", "corp.roam.test"};
  blob.parts.push_back(
      {support::must(Guid::parse("68fb602a-0c09-48ce-b75f-07b7bd58f7ec")), 1, SecretBytes(24, std::byte{7})});
  return blob;
}

inline bool equal(const OdjBlob& a, const OdjBlob& b) {
  const auto& [da, db] = std::pair<const Domain&, const Domain&>(a.membership.domain, b.membership.domain);
  const bool parts = std::equal(a.parts.begin(), a.parts.end(), b.parts.begin(), b.parts.end(),
                                [](const OdjBlob::Part& x, const OdjBlob::Part& y) {
                                  return x.type == y.type && x.flags == y.flags && x.bytes == y.bytes;
                                });
  return parts && a.join_domain == b.join_domain && a.options == b.options && a.site == b.site &&
         a.account_sid == b.account_sid && a.controller == b.controller &&
         a.membership.machine_name == b.membership.machine_name &&
         a.membership.machine_password == b.membership.machine_password &&
         a.membership.machine_rid == b.membership.machine_rid && da.dns_name == db.dns_name &&
         da.netbios_name == db.netbios_name && da.dns_forest == db.dns_forest && da.guid == db.guid &&
         da.sid == db.sid;
}

}  // namespace roamstead::join::testing
