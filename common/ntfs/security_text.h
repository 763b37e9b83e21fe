// Security descriptors as people read them: SDDL ([MS-DTYP] 2.5.1) with SIDs in full.
#pragma once

#include <string>

#include "common/base/bytes.h"

namespace roamstead::ntfs {

// "S-1-5-21-…"; ErrorCode::corrupt when the bytes do not hold a whole SID.
Result<std::string> sid_text(ByteView sid);

struct SecurityText {
  std::string owner;  // SID, "" when there is none
  std::string group;
  std::string sddl;  // "O:S-1-…G:S-1-…D:P(A;OICI;0x1f01ff;;;S-1-…)"
};
// Of a self-relative descriptor. Entries that are not allow, deny or audit appear by their number.
Result<SecurityText> describe_security(ByteView descriptor);

}  // namespace roamstead::ntfs
