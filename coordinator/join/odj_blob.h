// Blobs of an offline domain join: what "djoin /provision" on Windows and "net offlinejoin provision" on
// Linux make, and what Windows' Setup and "djoin /requestodj" take. Layout: Microsoft's published interface
// definition
// ("Offline Domain Join IDL") and blobs made by Samba, in docs/domain-join.md. They hold a password in the
// clear.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/join/membership.h"

namespace roamstead::join {

// DOMAIN_CONTROLLER_INFO: who made the account.
struct Controller {
  std::string name;                // "\\\\dc1.corp.example.com"
  std::string address;             // "\\\\192.0.2.1"
  std::uint32_t address_type = 1;  // internet
  Guid domain_guid;
  std::string domain_name;
  std::string forest_name;
  std::uint32_t flags = 0;  // DS_…_FLAG
  std::string site;
  std::string client_site;

  bool operator==(const Controller&) const = default;
};

// The part "join provider 2".
struct JoinSite {
  std::uint32_t flags = 0;  // 1: the site is kept
  std::string netbios_name;
  std::string site;
  std::string primary_dns_domain;

  bool operator==(const JoinSite&) const = default;
};

struct OdjBlob {
  std::string join_domain;  // as it was asked for
  Membership membership;
  Controller controller;
  std::uint32_t options = 6;  // as Samba and Windows Server 2019 write
  // Of the part "join provider 3": the account's SID as text; its RID is the membership's.
  std::string account_sid;

  std::optional<JoinSite> site;

  // Parts that are not looked into: certificates, policies. Written as they were read.
  struct Part {
    Guid type;
    std::uint32_t flags = 0;
    SecretBytes bytes;
  };
  std::vector<Part> parts;
};

// The binary form. Refuses encrypted packages, parts that say they are essential and are not known, and two
// blobs in one that are of different machines.
Result<OdjBlob> parse_odj_data(ByteView data);
// Both formats, that of Windows 7 and that of Windows 8 and later, in one, as Samba writes them.
Result<SecretBytes> write_odj_data(const OdjBlob& blob);

// A blob's file: base64 in UTF-16LE with a byte order mark; or AccountData: the same base64 as plain text.
Result<OdjBlob> parse_odj_text(ByteView text);
Result<SecretBytes> write_odj_file(const OdjBlob& blob);
Result<SecretBytes> write_account_data(const OdjBlob& blob);
// Between these texts and the binary form, which is not looked into: a blob that somebody else made is passed
// on as it is.
Result<SecretBytes> odj_data_of_text(ByteView text);
SecretBytes odj_file_of_data(ByteView data);
SecretBytes account_data_of_data(ByteView data);

// For an account that was made over LDAP.
OdjBlob make_odj_blob(Membership membership, Controller controller);

}  // namespace roamstead::join
